// From reset to Rust on a 64-bit core that begins at exception level 1: the vector unit, the map of memory
// with the caches, and a stack.

    .section .text.start, "ax"
    .global _start
_start:
    // One core answers; others that a board may start with it sleep.
    mrs     x0, mpidr_el1
    tst     x0, #0xff
    b.ne    sleep
    adrp    x0, vectors
    add     x0, x0, :lo12:vectors
    msr     vbar_el1, x0
    // No trap for instructions of the vector unit.
    mov     x0, #(3 << 20)
    msr     cpacr_el1, x0

    // Kind 0 of memory is cached, written back and allocated on reads and writes; the others are not used.
    mov     x0, #0xff
    msr     mair_el1, x0
    // Addresses of 32 bits in steps of 4 KiB, tables cached and shared; no second half.
    ldr     x0, =0x803520
    msr     tcr_el1, x0
    adrp    x0, gibibytes
    add     x0, x0, :lo12:gibibytes
    msr     ttbr0_el1, x0
    isb
    tlbi    vmalle1
    ic      iallu
    dsb     sy
    isb
    // The map, the caches of data and instructions; accesses need not be aligned.
    mrs     x0, sctlr_el1
    mov     x1, #0x1005
    orr     x0, x0, x1
    bic     x0, x0, #2
    msr     sctlr_el1, x0
    isb

    // Statics begin at zero, and the stack too, so that it can be told how much of it was used.
    adrp    x0, __zero_start
    add     x0, x0, :lo12:__zero_start
    adrp    x1, __zero_end
    add     x1, x1, :lo12:__zero_end
1:  stp     xzr, xzr, [x0], #16
    cmp     x0, x1
    b.lo    1b
    adrp    x0, __stack_top
    add     x0, x0, :lo12:__stack_top
    mov     sp, x0
    bl      berth_main

sleep:
    wfe
    b       sleep

// Whatever happens that was not asked for ends the program, on a fresh stack: the old one may be the reason.
    .section .text.vectors, "ax"
    .balign 2048
vectors:
    .rept 16
    b       fault
    .balign 128
    .endr
fault:
    adrp    x0, __stack_top
    add     x0, x0, :lo12:__stack_top
    mov     sp, x0
    mrs     x0, esr_el1
    mrs     x1, elr_el1
    mrs     x2, far_el1
    bl      berth_fault

// The map: each address is itself. Two GiB in tables of 2 MiB blocks; what is not named can't be touched.
    .section .rodata.map, "a"
    .balign 4096
gibibytes:
    .quad   flash_map + 3
    .quad   ram_map + 3
    .quad   0
    .quad   0

// Both banks of flash, 64 MiB each: read only, nothing to execute.
    .balign 4096
flash_map:
    .set    block, 0
    .rept   64
    .quad   block + 0x781 + (3 << 53)
    .set    block, block + 0x200000
    .endr
    .fill   448, 8, 0

// 128 MiB of memory. The first block is left out: below the program lies its stack, which ends there.
    .balign 4096
ram_map:
    .quad   0
    .set    block, 0x40200000
    .rept   63
    .quad   block + 0x701
    .set    block, block + 0x200000
    .endr
    .fill   448, 8, 0
