/* guest.c - a guest of a few kilobytes whose life can be proved from outside.
 *
 * On COM1 it writes "boot NONCE NAME" once and then "beat NONCE N" every 200 ms, N = 1, 2, ... The
 * nonce is drawn at each start, so a restart shows as a second boot line, and a second running copy
 * of the same machine state as a number that comes twice.
 *
 * Command line: name=NAME, wset=MIB (filled once with data that does not compress; default: all
 * memory when dirty is given, else nothing), dirty=MIB (of the working set, touched in turn, each
 * second). Without dirty the processor halts between ticks. The ACPI power button switches the
 * guest off. */
#include <stdint.h>

#define TICKS_PER_SECOND                                                                           \
    20U                   /* lowest rate of the 8254 is 18.2; fewer wake-ups cost the hosts less */
#define TICKS_PER_BEAT 4U /* 200 ms */
#define PIT_HZ 1193182U
#define COM1 0x3F8
#define PAGE 4096U
#define PAGES_PER_MIB 256U
#define WSET_START (2U << 20)
#define WSET_END_MAX (2048U << 20) /* well below the PCI hole */
#define TOP_RESERVE (1U << 20)     /* firmware keeps its tables at the top */
#define PM_BUTTON 0x100            /* power button bit of PM1 status and enable */
#define PM_SLEEP_OFF 0x2000        /* SLP_EN with type 0: soft off on this chip set */

struct multiboot {
    uint32_t flags, mem_lower_kib, mem_upper_kib, boot_device, cmdline;
};

struct gate {
    uint16_t offset_low, selector, type, offset_high;
};

volatile uint32_t ticks;
void on_timer(void);
void on_fault(void);
void guest_fault(void);
void guest_main(const struct multiboot *mb);

static struct gate idt[256];
static uint32_t nonce;

static inline void outb(uint16_t port, uint8_t v)
{
    __asm__ volatile("outb %0, %1" ::"a"(v), "Nd"(port));
}

static inline void outw(uint16_t port, uint16_t v)
{
    __asm__ volatile("outw %0, %1" ::"a"(v), "Nd"(port));
}

static inline void outl(uint16_t port, uint32_t v)
{
    __asm__ volatile("outl %0, %1" ::"a"(v), "Nd"(port));
}

static inline uint8_t inb(uint16_t port)
{
    uint8_t v;
    __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}

static inline uint16_t inw(uint16_t port)
{
    uint16_t v;
    __asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}

static inline uint32_t inl(uint16_t port)
{
    uint32_t v;
    __asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}

static void put_char(char c)
{
    while (!(inb(COM1 + 5) & 0x20))
        ;
    outb(COM1, (uint8_t)c);
}

static void put(const char *s)
{
    while (*s)
        put_char(*s++);
}

static void put_hex(uint32_t v)
{
    for (int shift = 28; shift >= 0; shift -= 4)
        put_char("0123456789abcdef"[v >> shift & 15]);
}

static void put_decimal(uint32_t v)
{
    char digits[11], *p = digits + sizeof(digits) - 1;

    *p = '\0';
    do
        *--p = (char)('0' + v % 10);
    while (v /= 10);
    put(p);
}

/* The value of KEY= on the command line, or NULL. The value ends at a space. */
static const char *option(const char *cmdline, const char *key)
{
    for (const char *p = cmdline; *p; p++) {
        const char *a = p, *k = key;

        if (p != cmdline && p[-1] != ' ')
            continue;
        while (*k && *a == *k)
            a++, k++;
        if (!*k && *a == '=')
            return a + 1;
    }
    return 0;
}

static uint32_t number(const char *cmdline, const char *key, uint32_t fallback)
{
    const char *p = option(cmdline, key);
    uint32_t v = 0;

    if (!p)
        return fallback;
    while (*p >= '0' && *p <= '9')
        v = v * 10 + (uint32_t)(*p++ - '0');
    return v;
}

static void set_gate(unsigned vector, void (*handler)(void))
{
    uint32_t at = (uint32_t)handler;

    idt[vector] = (struct gate){(uint16_t)at, 0x08, 0x8E00, (uint16_t)(at >> 16)};
}

static void start_timer(void)
{
    struct __attribute__((packed)) {
        uint16_t limit;
        uint32_t base;
    } pointer = {sizeof(idt) - 1, (uint32_t)idt};

    const uint16_t divisor = PIT_HZ / TICKS_PER_SECOND;

    for (unsigned i = 0; i < 256; i++)
        set_gate(i, on_fault);
    set_gate(32, on_timer);
    __asm__ volatile("lidt %0" ::"m"(pointer));
    outb(0x20, 0x11), outb(0xA0, 0x11); /* both 8259: initialise, */
    outb(0x21, 32), outb(0xA1, 40);     /* vectors 32 and 40, */
    outb(0x21, 4), outb(0xA1, 2);
    outb(0x21, 1), outb(0xA1, 1);
    outb(0x21, 0xFE), outb(0xA1, 0xFF); /* and only the timer let through */
    outb(0x43, 0x34);
    outb(0x40, (uint8_t)divisor), outb(0x40, (uint8_t)(divisor >> 8));
    __asm__ volatile("sti");
}

/* I/O base of the PIIX4's power management, set by the firmware; 0 when it is not there. */
static uint16_t find_power_port(void)
{
    outl(0xCF8, 0x80000B40); /* bus 0, device 1, function 3, register 0x40 */
    const uint32_t base = inl(0xCFC);

    return base == 0xFFFFFFFFU ? 0 : (uint16_t)(base & 0xFFC0);
}

static uint32_t draw_nonce(void)
{
    uint32_t low, high;

    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    for (uint8_t reg = 0; reg <= 9; reg++) { /* and the time of day */
        outb(0x70, reg);
        low = (low ^ inb(0x71)) * 16777619U;
    }
    return low ^ high;
}

static void fill(uint32_t pages)
{
    uint32_t x = nonce | 1, *p = (uint32_t *)WSET_START;

    for (uint32_t n = pages * (PAGE / 4); n; n--) {
        x ^= x << 13, x ^= x >> 17, x ^= x << 5;
        *p++ = x;
    }
}

static void say(const char *word)
{
    put(word);
    put_char(' ');
    put_hex(nonce);
    put_char(' ');
}

void guest_fault(void)
{
    say("fault");
    put_char('\n');
    for (;;)
        __asm__ volatile("cli; hlt");
}

static void touch(uint32_t pages, uint32_t wset_pages)
{
    static uint32_t next;

    while (pages--) {
        *(volatile uint32_t *)(WSET_START + next * PAGE) += 1;
        if (++next == wset_pages)
            next = 0;
    }
}

/* Halts until a tick later than `done` has come; "sti; hlt" is atomic, so none slips in between. */
static void wait_after(uint32_t done)
{
    for (;;) {
        __asm__ volatile("cli");
        if ((int32_t)(ticks - done) > 0)
            break;
        __asm__ volatile("sti; hlt");
    }
    __asm__ volatile("sti");
}

/* Under TCG, QEMU 7.2 forgets to look again at pages that the processor holds as writable when a
 * migration has read its list of dirty ones ("physmem: Fix migration dirty bitmap coherency with
 * TCG memory access", QEMU 9.0): in a migration of several passes writes were lost, and the guest
 * went on from older memory or crashed. Changing CR0.WP, which means nothing without paging, makes
 * the processor forget its pages, so that each tick's writes are seen. */
static void forget_pages(void)
{
    uint32_t cr0;
    __asm__ volatile("movl %%cr0, %0\n\txorl $0x10000, %0\n\tmovl %0, %%cr0" : "=&r"(cr0));
}

void guest_main(const struct multiboot *mb)
{
    const char *cmdline = mb->flags & 4 ? (const char *)mb->cmdline : "";
    uint32_t end = mb->mem_upper_kib >= (WSET_END_MAX >> 10)
                       ? WSET_END_MAX
                       : (mb->mem_upper_kib << 10) + (1U << 20);
    const uint32_t room =
        end > WSET_START + TOP_RESERVE ? (end - WSET_START - TOP_RESERVE) >> 20 : 0;
    const uint32_t dirty = number(cmdline, "dirty", 0);
    uint32_t wset = number(cmdline, "wset", dirty ? room : 0);
    const char *name = option(cmdline, "name");
    uint32_t done, beats = 0, since_beat = 0, owed = 0;

    if (wset > room)
        wset = room;
    nonce = draw_nonce();
    say("boot");
    while (name && *name && *name != ' ')
        put_char(*name++);
    put_char('\n');
    const uint16_t power = find_power_port();
    if (power)
        outw((uint16_t)(power + 2), PM_BUTTON);
    fill(wset * PAGES_PER_MIB);
    start_timer();
    for (done = ticks;;) {
        wait_after(done++);
        forget_pages();
        if (++since_beat == TICKS_PER_BEAT) {
            since_beat = 0;
            say("beat");
            put_decimal(++beats);
            put_char('\n');
        }
        if (wset) {
            owed += dirty * PAGES_PER_MIB; /* in pages x ticks per second: no rounding loss */
            touch(owed / TICKS_PER_SECOND, wset * PAGES_PER_MIB);
            owed %= TICKS_PER_SECOND;
        }
        if (power && inw(power) & PM_BUTTON)
            outw((uint16_t)(power + 4), PM_SLEEP_OFF);
    }
}
