/* VOD: visual anomaly scoring on a microcontroller. Written by cbindgen from firmware/c-api; see its
 * README.md for how to build and link libvod.a.
 *
 * No function allocates. The caller lends all memory, which stays where it is and untouched until the
 * object that it was lent to is used no more. Functions check for null pointers and for lengths; a
 * pointer that is not null must be valid for its length. Objects of this header must not be copied or
 * moved once they were opened or started, and one object is used by one thread at a time. */


#ifndef VOD_H
#define VOD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 Words of a `vod_bank`.
 */
#define VOD_BANK_WORDS 40

/*
 Words of a `vod_stream`.
 */
#define VOD_STREAM_WORDS 32

/*
 Words of a `vod_network`.
 */
#define VOD_NETWORK_WORDS 256

/*
 Words of a `vod_camera`.
 */
#define VOD_CAMERA_WORDS 260

/*
 Most levels at which a bank looks at a frame.
 */
#define VOD_MAX_LEVELS 3

/*
 Most regions of a frame.
 */
#define VOD_MAX_REGIONS 16

/*
 What a function came to.
 */
enum vod_status {
  /*
   Done.
   */
  VOD_OK = 0,
  /*
   A pointer is null.
   */
  VOD_NULL = 1,
  /*
   The object was not opened or started, or was closed by an error.
   */
  VOD_NOT_OPEN = 2,
  /*
   The file is shorter or longer than its header says.
   */
  VOD_FILE_LENGTH = 3,
  /*
   The file is of another kind.
   */
  VOD_FILE_MAGIC = 4,
  /*
   The file has a format version that this library does not read.
   */
  VOD_FILE_VERSION = 5,
  /*
   The file is damaged.
   */
  VOD_FILE_CHECKSUM = 6,
  /*
   The file's body can't be decoded.
   */
  VOD_FILE_ENCODING = 7,
  /*
   A field of the file is out of range or inconsistent.
   */
  VOD_FILE_FIELD = 8,
  /*
   The frame's size is none that the bank or the network takes.
   */
  VOD_GRID = 9,
  /*
   Another number of features or pixels than the frame has.
   */
  VOD_FEATURE_LENGTH = 10,
  /*
   Another number of map values than the frame has patches.
   */
  VOD_MAP_LENGTH = 11,
  /*
   The scratch memory is too short.
   */
  VOD_SCRATCH = 12,
  /*
   A row too many, a row that came before those that wait were taken, or an end too early.
   */
  VOD_ROW_COUNT = 13,
  /*
   Any other error.
   */
  VOD_OTHER = 14,
  /*
   The frame was given at another number of levels than the bank looks at.
   */
  VOD_LEVELS = 15,
};

/*
 An open int8 network. Its contents are the library's.
 */
struct vod_network {
  /*
   The library's.
   */
  size_t words[VOD_NETWORK_WORDS];
};

/*
 Sizes for frames of a network.
 */
struct vod_network_info {
  /*
   Channels of a patch feature.
   */
  size_t dimension;
  /*
   Height of a frame in patches.
   */
  size_t grid_height;
  /*
   Width of a frame in patches.
   */
  size_t grid_width;
  /*
   Bytes of scratch that a frame needs.
   */
  size_t scratch_bytes;
};

/*
 A frame whose pixel rows arrive one by one. Its contents are the library's.
 */
struct vod_camera {
  /*
   The library's.
   */
  size_t words[VOD_CAMERA_WORDS];
};

/*
 An open bank. Its contents are the library's.
 */
struct vod_bank {
  /*
   The library's.
   */
  size_t words[VOD_BANK_WORDS];
};

/*
 What is in a bank.
 */
struct vod_bank_info {
  /*
   Reference rows.
   */
  uint32_t rows;
  /*
   Channels of a patch feature.
   */
  uint32_t dimension;
  /*
   Height of a frame in patches; 0 where frames of any size are taken.
   */
  uint32_t grid_height;
  /*
   Width of a frame in patches; 0 where frames of any size are taken.
   */
  uint32_t grid_width;
  /*
   Image score from which a frame is anomalous.
   */
  int32_t threshold;
  /*
   Median image score of normal frames.
   */
  int32_t normal_score;
  /*
   Map value from which a patch belongs to a region.
   */
  int32_t map_threshold;
  /*
   Levels at which it looks at a frame: its input size; then half of it; then a quarter.
   */
  uint32_t levels;
};

/*
 Verdict on a frame.
 */
struct vod_verdict {
  /*
   Image score.
   */
  int32_t score;
  /*
   The bank's threshold.
   */
  int32_t threshold;
  /*
   Highest value of the map.
   */
  int32_t map_max;
  /*
   Whether the score reaches the threshold.
   */
  bool anomalous;
};

/*
 Features of a frame at one level.
 */
struct vod_level_features {
  /*
   Rows of patches.
   */
  size_t height;
  /*
   Patches of a row.
   */
  size_t width;
  /*
   `[height, width, dimension]`.
   */
  const int8_t *features;
  /*
   How many they are.
   */
  size_t length;
};

/*
 A frame whose rows of features arrive one by one. Its contents are the library's.
 */
struct vod_stream {
  /*
   The library's.
   */
  size_t words[VOD_STREAM_WORDS];
};

/*
 A level of a frame whose rows were all scored.
 */
struct vod_level {
  /*
   Rows of patches.
   */
  size_t height;
  /*
   Patches of a row.
   */
  size_t width;
  /*
   What vod_stream_finish_level gave.
   */
  int32_t score;
};

/*
 A connected part of the map at or above a threshold, in patches.
 */
struct vod_region {
  /*
   First row of its box.
   */
  uint16_t top;
  /*
   First column of its box.
   */
  uint16_t left;
  /*
   Last row of its box.
   */
  uint16_t bottom;
  /*
   Last column of its box.
   */
  uint16_t right;
  /*
   Patches in it.
   */
  uint32_t area;
  /*
   Highest map value in it.
   */
  int32_t peak;
};

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/*
 Checks a network (of `vod export --part network`) and opens it. `bytes` stay in use as long as
 `network`.

 # Safety
 Pointers are null or valid for their length.
 */
enum vod_status vod_network_open(struct vod_network *network, const uint8_t *bytes, size_t length);

/*
 Says what a frame of `height x width` pixels needs and gives.

 # Safety
 Pointers are null or valid.
 */
enum vod_status vod_network_describe(const struct vod_network *network,
                                     size_t height,
                                     size_t width,
                                     struct vod_network_info *info);

/*
 Starts a frame of `height x width` pixels whose rows arrive one by one. `network` and `scratch`
 stay in use as long as `camera`.

 # Safety
 Pointers are null or valid for their length.
 */
enum vod_status vod_camera_start(struct vod_camera *camera,
                                 const struct vod_network *network,
                                 size_t height,
                                 size_t width,
                                 int8_t *scratch,
                                 size_t scratch_length);

/*
 Takes the next pixel row: `3 * width` bytes of RGB or `width` of grey. Take all feature rows that
 are ready before.

 # Safety
 Pointers are null or valid for their length.
 */
enum vod_status vod_camera_push(struct vod_camera *camera, const uint8_t *pixels, size_t length);

/*
 Points `features` to the next row of patch features, of `length` values, for vod_stream_push; to
 null where none is ready. The row is good until the next call on `camera`.

 # Safety
 Pointers are null or valid.
 */
enum vod_status vod_camera_next(struct vod_camera *camera, const int8_t **features, size_t *length);

/*
 Checks a bank (of `vod export`) and opens it. `bytes` stay in use as long as `bank`.

 # Safety
 Pointers are null or valid for their length.
 */
enum vod_status vod_bank_open(struct vod_bank *bank, const uint8_t *bytes, size_t length);

/*
 Says what is in a bank.

 # Safety
 Pointers are null or valid.
 */
enum vod_status vod_bank_describe(const struct vod_bank *bank, struct vod_bank_info *info);

/*
 Says how many 32-bit words of scratch a frame of `height x width` patches needs.

 # Safety
 Pointers are null or valid.
 */
enum vod_status vod_scratch_words(const struct vod_bank *bank,
                                  size_t height,
                                  size_t width,
                                  size_t *words);

/*
 Scores a whole frame against a bank of one level. `features` are `[height, width, dimension]`, `map`
 (written) is `[height, width]`, `scratch` has at least as many words as vod_scratch_words says.

 # Safety
 Pointers are null or valid for their length.
 */
enum vod_status vod_score_frame(const struct vod_bank *bank,
                                size_t height,
                                size_t width,
                                const int8_t *features,
                                size_t features_length,
                                int32_t *map,
                                size_t map_length,
                                int32_t *scratch,
                                size_t scratch_length,
                                struct vod_verdict *verdict);

/*
 Scores a whole frame at the levels that the bank looks at, the input size first. `map` has room for
 the patches of all of them; those of the input size, which come first, are the frame's map.
 `scratch` has at least as many words as vod_scratch_words says of the input size.

 # Safety
 Pointers are null or valid for their length, those within `levels` too.
 */
enum vod_status vod_score_levels(const struct vod_bank *bank,
                                 const struct vod_level_features *levels,
                                 size_t count,
                                 int32_t *map,
                                 size_t map_length,
                                 int32_t *scratch,
                                 size_t scratch_length,
                                 struct vod_verdict *verdict);

/*
 Starts a frame of `height x width` patches, or one level of it, whose rows arrive one by one. `bank`
 and `scratch` stay in use as long as `stream`.

 # Safety
 Pointers are null or valid for their length.
 */
enum vod_status vod_stream_start(struct vod_stream *stream,
                                 const struct vod_bank *bank,
                                 size_t height,
                                 size_t width,
                                 int32_t *scratch,
                                 size_t scratch_length);

/*
 Scores the next row, `[width, dimension]`. Take all rows of the map that are ready before.

 # Safety
 Pointers are null or valid for their length.
 */
enum vod_status vod_stream_push(struct vod_stream *stream, const int8_t *features, size_t length);

/*
 Writes the next row of the map, `[width]`, and sets `popped`, where one is ready.

 # Safety
 Pointers are null or valid for their length.
 */
enum vod_status vod_stream_pop(struct vod_stream *stream,
                               int32_t *row,
                               size_t length,
                               bool *popped);

/*
 Writes the scores of the row that was pushed last, `[width]`, before smoothing, and drops what is
 ready of the smoothed map: for a level below the input size, whose patches are not smoothed.

 # Safety
 Pointers are null or valid for their length.
 */
enum vod_status vod_stream_scores(struct vod_stream *stream, int32_t *row, size_t length);

/*
 Ends a frame against a bank of one level once all rows were pushed and popped; the stream can then
 be started again. `map_max` is that of the rows that were popped: where the map is kept, end the frame
 by vod_stream_finish_level and vod_merge_levels.

 # Safety
 Pointers are null or valid.
 */
enum vod_status vod_stream_finish(struct vod_stream *stream,
                                  struct vod_verdict *verdict);

/*
 Ends one level of a frame once all its rows were pushed and taken; the stream can then be started
 with the next. `score` is what vod_merge_levels asks for; alone it says nothing.

 # Safety
 Pointers are null or valid.
 */
enum vod_status vod_stream_finish_level(struct vod_stream *stream, int32_t *score);

/*
 Gives the verdict on a frame whose levels were scored row by row, the input size first. `map` holds
 the smoothed map of the input size, then the scores of each coarser level; the first,
 `[height, width]`, becomes the frame's map. Also for a bank of one level whose map is kept: it takes the
 map's background off.

 # Safety
 Pointers are null or valid for their length.
 */
enum vod_status vod_merge_levels(const struct vod_bank *bank,
                                 const struct vod_level *levels,
                                 size_t count,
                                 int32_t *map,
                                 size_t map_length,
                                 struct vod_verdict *verdict);

/*
 Finds the regions of a map of `height x width` patches at or above `threshold`, the highest peak
 first; writes at most `capacity` of them, and how many. `labels` is scratch of the map's length.

 # Safety
 Pointers are null or valid for their length.
 */
enum vod_status vod_regions(const int32_t *map,
                            size_t height,
                            size_t width,
                            int32_t threshold,
                            uint32_t *labels,
                            size_t labels_length,
                            struct vod_region *found,
                            size_t capacity,
                            size_t *count);

/*
 What a status means, in English; any number may be given.
 */
const char *vod_status_text(int32_t status);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* VOD_H */
