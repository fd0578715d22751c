/* Start of a Cortex-M with a floating-point unit: vectors, memory, floating-point unit, main. */
#include "platform.h"

extern uint32_t stack_top[], data_start[], data_end[], data_source[], bss_start[], bss_end[];
int main(void);

void reset(void) {
    /* Full access to coprocessors 10 and 11. */
    *(volatile uint32_t *)0xe000ed88 |= 0xfu << 20;
    __asm__ volatile("dsb\n\tisb");
    for (uint32_t *to = data_start, *from = data_source; to < data_end;)
        *to++ = *from++;
    for (uint32_t *to = bss_start; to < bss_end;)
        *to++ = 0;
    quit(main());
}

static void fault(void) {
    print("fault\n");
    quit(2);
}

__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {
    stack_top, reset, fault, fault, fault, fault, fault,
};
