/* boot.S - multiboot entry, descriptor tables and interrupt stubs of the lab's guest. */
#define MAGIC 0x1BADB002
#define FLAGS 0x3 /* page-aligned modules, memory sizes */

    .section .multiboot, "a"
    .align 4
    .long MAGIC, FLAGS, -(MAGIC + FLAGS)

    .text
    .globl _start
_start:
    cli
    movl $stack_top, %esp
    lgdt gdt_pointer
    ljmp $0x08, $1f
1:  movw $0x10, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    pushl %ebx /* struct multiboot * */
    call guest_main
2:  cli
    hlt
    jmp 2b

    .globl on_timer
on_timer:
    pushl %eax
    incl ticks
    movb $0x20, %al
    outb %al, $0x20
    popl %eax
    iret

    .globl on_fault
on_fault:
    cli
    call guest_fault

    .section .rodata
    .align 8
gdt:
    .quad 0
    .quad 0x00CF9A000000FFFF /* code: flat, 32 bits */
    .quad 0x00CF92000000FFFF /* data: flat */
gdt_pointer:
    .word 23
    .long gdt

    .bss
    .align 16
    .skip 8192
stack_top:

    .section .note.GNU-stack, "", @progbits
