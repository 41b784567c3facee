/* Counts what an AArch64 program executes under qemu-user: instructions by class, and, where asked, the
 * bytes that a board would fetch from beyond its second-level cache, and the blocks that run most.
 *
 *   qemu-aarch64 -plugin libcount.so,out=FILE[,l1=BYTES,l2=BYTES][,hot=N] PROGRAM ...
 *
 * At the program's end one line of JSON is written to FILE, and behind it the N hottest blocks, disassembled.
 * A count is the same on every run of the same program with the same input.
 *
 * The caches are modelled as LRU, four ways in the first level and sixteen in the second, lines of 64 bytes,
 * written back, data alone, without prefetching. Lines that `dc zva` zeroes are not fetched. The plugin is not
 * told which they are: the next so many that are stored to, hold nothing but zeros beside, and are not in the first
 * level are taken for them. Debian packages no header for qemu's plugins, so what is
 * used of version 1 of their interface is declared here. */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t plugin_id;
typedef uint32_t mem_info;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct qemu_plugin_tb *));
extern void qemu_plugin_register_atexit_cb(plugin_id, void (*)(plugin_id, void *), void *);
extern uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);
extern void *qemu_plugin_insn_haddr(const struct qemu_plugin_insn *);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
extern char *qemu_plugin_insn_disas(const struct qemu_plugin_insn *);
extern void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *, int, void *, uint64_t);
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int, void *, uint64_t);
extern void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *,
                                             void (*)(unsigned, mem_info, uint64_t, void *), int, int, void *);
extern void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *, void (*)(unsigned, void *), int, void *);
extern unsigned qemu_plugin_mem_size_shift(mem_info);
extern _Bool qemu_plugin_mem_is_store(mem_info);

#define EXPORT __attribute__((visibility("default")))
EXPORT int qemu_plugin_version = 1;

enum { ADD_U64 = 0, NO_REGISTERS = 0, READ_AND_WRITE = 3 };

/* ---- classes of instructions */

enum class { PRODUCT, VECTOR, MEMORY, BRANCH, INTEGER, OTHER, CLASSES };
static const char *const names[CLASSES] = {"products", "vector", "memory", "branch", "integer", "other"};
static uint64_t counts[CLASSES];

/* By the main encoding groups of the architecture's manual (C4.1); products of bytes are sdot and udot, the
 * three mmla, smull, smlal and sadalp, in their vector forms. */
static enum class class_of(uint32_t code) {
    if ((code & 0x9fe0fc00) == 0x0e809400 || (code & 0x9fc0f400) == 0x0f80e000) return PRODUCT;
    if ((code & 0xdfe0f400) == 0x4e80a400) return PRODUCT;
    if ((code & 0xbf20bc00) == 0x0e208000 || (code & 0xbf3ffc00) == 0x0e206800) return PRODUCT;
    switch (code >> 25 & 15) {
    case 7: case 15: return VECTOR;
    case 4: case 6: case 12: case 14: return MEMORY;
    case 10: case 11: return BRANCH;
    case 5: case 8: case 9: case 13: return INTEGER;
    default: return OTHER;
    }
}

/* ---- caches */

enum { LINE_BITS = 6 };
struct cache { uint64_t *lines, *used; unsigned ways, sets; uint64_t fetched, written; };
static struct cache first, second;
static uint64_t now;

static void make(struct cache *cache, size_t bytes, unsigned ways) {
    cache->ways = ways;
    cache->sets = bytes >> LINE_BITS;
    cache->sets /= ways;
    cache->lines = calloc((size_t)ways * cache->sets, sizeof(uint64_t));
    cache->used = calloc((size_t)ways * cache->sets, sizeof(uint64_t));
}

/* The lowest bit of a line's name says that it was written to; 0 is an empty place. Returns whether the line
 * had to be fetched, and in `out` what had to go for it. */
static int touch(struct cache *cache, uint64_t line, int store, int fetch, uint64_t *out) {
    uint64_t name = (line + 1) << 1, *lines = cache->lines + line % cache->sets * cache->ways;
    uint64_t *used = cache->used + (lines - cache->lines);
    unsigned oldest = 0;
    *out = 0;
    for (unsigned way = 0; way < cache->ways; way++) {
        if ((lines[way] & ~1ull) == name) {
            lines[way] |= store;
            used[way] = ++now;
            return 0;
        }
        if (used[way] < used[oldest]) oldest = way;
    }
    *out = lines[oldest];
    lines[oldest] = name | store;
    used[oldest] = ++now;
    cache->fetched += fetch;
    cache->written += *out & 1;
    return 1;
}

static int holds(const struct cache *cache, uint64_t line) {
    const uint64_t *lines = cache->lines + line % cache->sets * cache->ways;
    for (unsigned way = 0; way < cache->ways; way++)
        if ((lines[way] & ~1ull) == (line + 1) << 1) return 1;
    return 0;
}

/* How many lines were zeroed in a row, and have not been stored to; and whether anything was stored since. */
static unsigned zeroed, stored;
/* Where the program's memory begins in qemu's. */
static uintptr_t base;

/* Whether a line has nothing but zeros beside what was just stored from `first` to `last`. */
static int is_zero_beside(uint64_t line, uint64_t first, uint64_t last) {
    for (uint64_t at = line << LINE_BITS; at < (line + 1) << LINE_BITS; at++)
        if ((at < first || at > last) && *(const char *)(base + at)) return 0;
    return 1;
}

static void on_zeroing(unsigned cpu, void *unused) {
    (void)cpu, (void)unused;
    zeroed = stored ? 1 : zeroed + 1;
    stored = 0;
}

static void on_memory(unsigned cpu, mem_info info, uint64_t address, void *unused) {
    (void)cpu, (void)unused;
    uint64_t last = address + (1ull << qemu_plugin_mem_size_shift(info)) - 1, out, rest;
    int store = qemu_plugin_mem_is_store(info);
    stored |= store;
    for (uint64_t line = address >> LINE_BITS; line <= last >> LINE_BITS; line++) {
        int fetch = !(store && zeroed && !holds(&first, line) && is_zero_beside(line, address, last));
        zeroed -= !fetch;
        if (!touch(&first, line, store, fetch, &out)) continue;
        touch(&second, line, 0, fetch, &rest);
        if (out & 1) touch(&second, (out >> 1) - 1, 1, 1, &rest);
    }
}

/* ---- blocks */

struct block { struct block *next; uint64_t address, runs; size_t length; char **code; };
static struct block *blocks;
static unsigned hot;

static void note(struct qemu_plugin_tb *tb) {
    struct block *block = calloc(1, sizeof *block);
    block->address = qemu_plugin_tb_vaddr(tb);
    block->length = qemu_plugin_tb_n_insns(tb);
    block->code = calloc(block->length, sizeof(char *));
    for (size_t i = 0; i < block->length; i++)
        block->code[i] = qemu_plugin_insn_disas(qemu_plugin_tb_get_insn(tb, i));
    block->next = blocks;
    blocks = block;
    qemu_plugin_register_vcpu_tb_exec_inline(tb, ADD_U64, &block->runs, 1);
}

static void print_hottest(FILE *out) {
    for (unsigned i = 0; i < hot; i++) {
        struct block *most = NULL;
        for (struct block *block = blocks; block; block = block->next)
            if (!most || block->runs * block->length > most->runs * most->length) most = block;
        if (!most || !most->runs) return;
        fprintf(out, "# %#" PRIx64 ": %zu instructions, %" PRIu64 " times\n", most->address, most->length, most->runs);
        for (size_t at = 0; at < most->length; at++) fprintf(out, "    %s\n", most->code[at]);
        most->runs = 0;
    }
}

/* ---- the plugin */

static const char *path = "/dev/stderr";

static void on_block(plugin_id id, struct qemu_plugin_tb *tb) {
    (void)id;
    if (hot) note(tb);
    struct qemu_plugin_insn *any = qemu_plugin_tb_get_insn(tb, 0);
    base = (uintptr_t)qemu_plugin_insn_haddr(any) - qemu_plugin_insn_vaddr(any);
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
        struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(tb, i);
        uint32_t code;
        memcpy(&code, qemu_plugin_insn_data(instruction), sizeof code);
        qemu_plugin_register_vcpu_insn_exec_inline(instruction, ADD_U64, &counts[class_of(code)], 1);
        if (second.sets && (code & ~31u) == 0xd50b7420)
            qemu_plugin_register_vcpu_insn_exec_cb(instruction, on_zeroing, NO_REGISTERS, NULL);
        else if (second.sets)
            qemu_plugin_register_vcpu_mem_cb(instruction, on_memory, NO_REGISTERS, READ_AND_WRITE, NULL);
    }
}

static void at_end(plugin_id id, void *unused) {
    (void)id, (void)unused;
    FILE *out = fopen(path, "w");
    uint64_t all = 0;
    if (!out) return;
    for (int i = 0; i < CLASSES; i++) all += counts[i];
    fprintf(out, "{\"instructions\":%" PRIu64, all);
    for (int i = 0; i < CLASSES; i++) fprintf(out, ",\"%s\":%" PRIu64, names[i], counts[i]);
    if (second.sets)
        fprintf(out, ",\"l1_fetched\":%" PRIu64 ",\"l2_fetched\":%" PRIu64 ",\"l2_written\":%" PRIu64,
                first.fetched << LINE_BITS, second.fetched << LINE_BITS, second.written << LINE_BITS);
    fprintf(out, "}\n");
    print_hottest(out);
    fclose(out);
}

EXPORT int qemu_plugin_install(plugin_id id, const void *info, int count, char **arguments) {
    size_t l1 = 0, l2 = 0;
    (void)info;
    for (int i = 0; i < count; i++) {
        if (!strncmp(arguments[i], "out=", 4)) path = strdup(arguments[i] + 4);
        else if (!strncmp(arguments[i], "l1=", 3)) l1 = strtoull(arguments[i] + 3, NULL, 10);
        else if (!strncmp(arguments[i], "l2=", 3)) l2 = strtoull(arguments[i] + 3, NULL, 10);
        else if (!strncmp(arguments[i], "hot=", 4)) hot = (unsigned)strtoull(arguments[i] + 4, NULL, 10);
        else return fprintf(stderr, "count: no such argument: %s\n", arguments[i]), 1;
    }
    if (l1 && l2) make(&first, l1, 4), make(&second, l2, 16);
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_block);
    qemu_plugin_register_atexit_cb(id, at_end, NULL);
    return 0;
}
