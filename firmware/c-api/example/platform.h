/* Text, files and the end of the program: on Linux by the C library, on bare metal by Arm semihosting,
 * as an emulator or a debugger offers it. */
#ifndef PLATFORM_H
#define PLATFORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __linux__

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void print(const char *text) { fputs(text, stdout); }

/* A handle, or a negative number. */
static inline int open_file(const char *name) { return open(name, O_RDONLY); }

static inline bool read_file(int handle, uint8_t *bytes, size_t length) {
    return read(handle, bytes, length) == (ssize_t)length;
}

static inline _Noreturn void quit(int status) { exit(status); }

#else

enum { SYS_OPEN = 0x01, SYS_WRITE0 = 0x04, SYS_READ = 0x06, SYS_EXIT_EXTENDED = 0x20 };

static inline intptr_t semihost(int operation, const void *parameters) {
    register intptr_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = parameters;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

static inline void print(const char *text) { semihost(SYS_WRITE0, text); }

/* A handle, or a negative number. */
static inline int open_file(const char *name) {
    size_t length = 0;
    while (name[length])
        length++;
    const uintptr_t parameters[] = {(uintptr_t)name, 1 /* rb */, length};
    return (int)semihost(SYS_OPEN, parameters);
}

static inline bool read_file(int handle, uint8_t *bytes, size_t length) {
    const uintptr_t parameters[] = {(uintptr_t)handle, (uintptr_t)bytes, length};
    return semihost(SYS_READ, parameters) == 0;
}

static inline _Noreturn void quit(int status) {
    const uintptr_t parameters[] = {0x20026 /* application exit */, (uintptr_t)status};
    for (;;)
        semihost(SYS_EXIT_EXTENDED, parameters);
}

#endif

static inline void print_number(int32_t number) {
    char text[12];
    char *place = text + sizeof text - 1;
    uint32_t rest = number < 0 ? -(uint32_t)number : (uint32_t)number;
    *place = 0;
    do {
        *--place = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest);
    if (number < 0)
        *--place = '-';
    print(place);
}

#endif
