// From reset to Rust on a Cortex-M4: the floating-point unit, a guard below the stack, and memory that begins
// at zero.

    .syntax unified
// The core's vector table: the stack, where to begin, and where every fault goes.
    .section .vectors, "a"
    .word   __stack_top
    .word   _start
    .rept   5
    .word   fault
    .endr

    .section .text.start, "ax"
    .global _start
    .thumb_func
    .type   _start, %function
_start:
    // Full access to the floating-point unit, in the coprocessor access control register.
    ldr     r0, =0xe000ed88
    ldr     r1, [r0]
    orr     r1, r1, #(0xf << 20)
    str     r1, [r0]
    // The MiB below memory, which is below the stack: nobody may touch it, else all is as without a map. These
    // are the protection unit's base address, its size and attributes, and its control register.
    ldr     r0, =0xe000ed9c
    ldr     r1, =0x1ff00010
    str     r1, [r0]
    ldr     r1, =0x10000027
    str     r1, [r0, #4]
    movs    r1, #5
    str     r1, [r0, #-8]
    dsb
    isb
    // Statics begin at zero, and the stack too, so that it can be told how much of it was used.
    ldr     r0, =__zero_start
    ldr     r1, =__zero_end
    movs    r2, #0
1:  str     r2, [r0], #4
    cmp     r0, r1
    blo     1b
    bl      berth_main

// The reason, from the configurable fault status register and the fault addresses, on a fresh stack: the
// old one may be the reason.
    .thumb_func
    .type   fault, %function
fault:
    ldr     r0, =__stack_top
    mov     sp, r0
    ldr     r3, =0xe000ed28
    ldr     r0, [r3]
    ldr     r1, [r3, #12]
    ldr     r2, [r3, #16]
    bl      berth_fault
    .ltorg
