/* From the pixel rows of a camera to a verdict, in C.
 *
 * bank.h and network.h are of `vod export --format c-header`. The camera is frame.rgb in the
 * emulator's folder: width and height (16 bits, little-endian), then rows of RGB bytes; where the bank
 * looks at several levels, the same of the frame at half its sides, then at a quarter. */
#include "bank.h"
#include "network.h"
#include "platform.h"
#include "vod.h"

#define MAX_WIDTH 160
#define MAX_PATCHES 525
#define MAX_DIMENSION 64

static struct vod_bank bank;
static struct vod_network network;
static struct vod_camera camera;
static struct vod_stream stream;

static int8_t between_layers[140 * 1024];
static int32_t scratch[512];
static int32_t map[MAX_PATCHES];
static uint32_t labels[MAX_PATCHES];
static int8_t features[MAX_PATCHES * MAX_DIMENSION];
static uint8_t pixels[3 * MAX_WIDTH];

static void check(enum vod_status status, const char *what) {
    if (status != VOD_OK) {
        print(what);
        print(": ");
        print(vod_status_text(status));
        print("\n");
        quit(1);
    }
}

static void print_verdict(const char *name, const struct vod_verdict *verdict) {
    print(name);
    print(" score ");
    print_number(verdict->score);
    print(" threshold ");
    print_number(verdict->threshold);
    print(" map_max ");
    print_number(verdict->map_max);
    print(verdict->anomalous ? " ANOMALOUS\n" : " normal\n");
}

int main(void) {
    check(vod_bank_open(&bank, vod_bank, VOD_BANK_SIZE), "bank");
    check(vod_network_open(&network, vod_network, VOD_NETWORK_SIZE), "network");
    struct vod_bank_info about;
    check(vod_bank_describe(&bank, &about), "bank");

    int file = open_file("frame.rgb");
    struct vod_level levels[VOD_MAX_LEVELS];
    struct vod_level_features whole[VOD_MAX_LEVELS];
    size_t kept = 0, patches = 0;
    for (size_t level = 0; level < about.levels; level++) {
        uint8_t sides[4];
        if (file < 0 || !read_file(file, sides, sizeof sides)) {
            print("frame.rgb can't be read, or has too few levels\n");
            return 1;
        }
        size_t width = sides[0] | sides[1] << 8, height = sides[2] | sides[3] << 8, words;
        struct vod_network_info sizes;
        check(vod_network_describe(&network, height, width, &sizes), "network");
        check(vod_scratch_words(&bank, sizes.grid_height, sizes.grid_width, &words), "bank");
        int32_t *map_row = map + patches;
        patches += sizes.grid_height * sizes.grid_width;
        if (width > MAX_WIDTH || patches > MAX_PATCHES ||
            sizes.scratch_bytes > sizeof between_layers ||
            words > sizeof scratch / sizeof *scratch || sizes.dimension > MAX_DIMENSION ||
            sizes.dimension != about.dimension) {
            print("the frame is too large, or the bank is of another network\n");
            return 1;
        }

        /* Row by row: a row of features is scored as soon as the network gives it. */
        check(vod_camera_start(&camera, &network, height, width, between_layers,
                               sizeof between_layers),
              "camera");
        check(vod_stream_start(&stream, &bank, sizes.grid_height, sizes.grid_width, scratch,
                               sizeof scratch / sizeof *scratch),
              "stream");
        whole[level].features = features + kept;
        for (size_t y = 0; y < height; y++) {
            if (!read_file(file, pixels, 3 * width)) {
                print("frame.rgb is too short\n");
                return 1;
            }
            check(vod_camera_push(&camera, pixels, 3 * width), "pixels");
            for (;;) {
                const int8_t *row;
                size_t length;
                check(vod_camera_next(&camera, &row, &length), "camera");
                if (!row)
                    break;
                for (size_t i = 0; i < length; i++)
                    features[kept++] = row[i];
                check(vod_stream_push(&stream, row, length), "features");
                if (level > 0) {
                    /* Large patches: not smoothed. */
                    check(vod_stream_scores(&stream, map_row, sizes.grid_width), "map");
                    map_row += sizes.grid_width;
                    continue;
                }
                for (bool popped = true; popped;) {
                    check(vod_stream_pop(&stream, map_row, sizes.grid_width, &popped), "map");
                    if (popped && map_row + sizes.grid_width < map + patches)
                        map_row += sizes.grid_width;
                }
            }
        }
        levels[level].height = whole[level].height = sizes.grid_height;
        levels[level].width = whole[level].width = sizes.grid_width;
        check(vod_stream_finish_level(&stream, &levels[level].score), "stream");
        whole[level].length = (size_t)(features + kept - whole[level].features);
    }
    struct vod_verdict verdict;
    check(vod_merge_levels(&bank, levels, about.levels, map, patches, &verdict), "levels");
    print_verdict("stream", &verdict);

    struct vod_region regions[VOD_MAX_REGIONS];
    size_t count;
    check(vod_regions(map, levels[0].height, levels[0].width, about.map_threshold, labels,
                      MAX_PATCHES, regions, VOD_MAX_REGIONS, &count),
          "regions");
    for (size_t i = 0; i < count; i++) {
        print("region ");
        print_number(regions[i].top);
        print(" ");
        print_number(regions[i].left);
        print(" ");
        print_number(regions[i].bottom);
        print(" ");
        print_number(regions[i].right);
        print(" peak ");
        print_number(regions[i].peak);
        print("\n");
    }

    /* The same features at once. */
    check(vod_score_levels(&bank, whole, about.levels, map, patches, scratch,
                           sizeof scratch / sizeof *scratch, &verdict),
          "frame");
    print_verdict("frame", &verdict);

    /* Mistakes are told, not made. */
    if (vod_bank_open(0, vod_bank, VOD_BANK_SIZE) != VOD_NULL ||
        vod_stream_push(&stream, features, kept) != VOD_NOT_OPEN ||
        vod_bank_open(&bank, vod_network, VOD_NETWORK_SIZE) != VOD_FILE_MAGIC) {
        print("a mistake was not noticed\n");
        return 1;
    }
    return 0;
}
