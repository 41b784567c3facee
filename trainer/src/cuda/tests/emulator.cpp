// CUDA's threads on one thread of a CPU, to run the kernels where there is no GPU. This file stands before the kernels,
// emulator_end.cpp after them.
//
// The threads of a block are contexts of their own that take turns. One runs until it waits: at __syncthreads for its
// block, at a shuffle or a product of tensor cores for its warp. Blocks run one after the other, so __shared__ is a
// static variable; it stands in kernels alone, since what is static in a template is one for all libraries. Threads can
// take turns in two orders, ascending and descending: a kernel that lacks a barrier is wrong in one of the two. A
// barrier that not all threads reach, and a shuffle that not all lanes reach, end the process with a message. What a
// GPU does not read, an address that is no multiple of what stands there, ends it without one.

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ucontext.h>
#include <vector>

#define __device__
#define __global__
#define __shared__ static
#define __launch_bounds__(...)
#define EMULATED

struct dim3 {
    unsigned x, y, z;
};
static dim3 threadIdx, blockIdx, blockDim, gridDim;

static inline float __uint_as_float(unsigned x) {
    float y;
    memcpy(&y, &x, sizeof y);
    return y;
}

static inline unsigned __float_as_uint(float x) {
    unsigned y;
    memcpy(&y, &x, sizeof y);
    return y;
}

static inline float __fdividef(float x, float y) { return x / y; }

namespace emulator {

const unsigned LANES = 32;
const size_t STACK = 64 * 1024;

// Threads that wait for one another.
struct Barrier {
    unsigned members, arrived;
    unsigned long generation;
};

struct Thread {
    ucontext_t context;
    bool done;
    Barrier *waiting;
    unsigned long generation;
};

struct Warp {
    Barrier barrier;
    unsigned char slots[LANES][8];
    unsigned factors[LANES][6];
};

std::vector<Thread> threads;
std::vector<std::vector<char>> stacks;
std::vector<Warp> warps;
Barrier block;
ucontext_t scheduler;
unsigned current;
void (*body)(const void *);
const void *argument;
const char *kernel;

inline bool is_blocked(const Thread &thread) {
    return thread.waiting && thread.waiting->generation == thread.generation;
}

inline void wait(Barrier &barrier) {
    Thread &thread = threads[current];
    thread.waiting = &barrier;
    thread.generation = barrier.generation;
    if (++barrier.arrived == barrier.members) {
        barrier.arrived = 0;
        barrier.generation++;
    }
    unsigned self = current;
    if (is_blocked(thread)) swapcontext(&thread.context, &scheduler);
    threads[self].waiting = nullptr;
}

void begin() {
    body(argument);
    threads[current].done = true;
    // A thread that has returned counts at no barrier.
    Barrier *both[] = {&block, &warps[current / LANES].barrier};
    for (Barrier *barrier : both)
        if (--barrier->members > 0 && barrier->arrived == barrier->members) {
            barrier->arrived = 0;
            barrier->generation++;
        }
    swapcontext(&threads[current].context, &scheduler);
}

void run_block(bool descending) {
    unsigned count = blockDim.x;
    threads.resize(count);
    if (stacks.size() < count) stacks.resize(count, std::vector<char>(STACK));
    warps.assign((count + LANES - 1) / LANES, Warp());
    block = Barrier{count, 0, 0};
    for (unsigned i = 0; i < count; i++) {
        threads[i].done = false;
        threads[i].waiting = nullptr;
        getcontext(&threads[i].context);
        threads[i].context.uc_stack.ss_sp = stacks[i].data();
        threads[i].context.uc_stack.ss_size = STACK;
        threads[i].context.uc_link = nullptr;
        makecontext(&threads[i].context, begin, 0);
        warps[i / LANES].barrier.members++;
    }
    for (unsigned left = count; left > 0;) {
        bool moved = false;
        for (unsigned turn = 0; turn < count; turn++) {
            unsigned i = descending ? count - 1 - turn : turn;
            if (threads[i].done || is_blocked(threads[i])) continue;
            current = i;
            threadIdx = dim3{i, 0, 0};
            swapcontext(&scheduler, &threads[i].context);
            moved = true;
            if (threads[i].done) left--;
        }
        if (!moved) {
            fprintf(stderr, "%s: threads wait for others that never come\n", kernel);
            abort();
        }
    }
}

template <typename Argument, void (*kernel_body)(Argument)> void call(const void *argument) {
    kernel_body(*(const Argument *)argument);
}

struct Entry {
    const char *name;
    void (*call)(const void *);
    size_t size;
};

} // namespace emulator

static inline void __syncthreads() { emulator::wait(emulator::block); }

template <typename Number> static inline Number __shfl_xor_sync(unsigned, Number x, int step) {
    unsigned self = emulator::current, lane = self % emulator::LANES;
    emulator::Warp &warp = emulator::warps[self / emulator::LANES];
    memcpy(warp.slots[lane], &x, sizeof x);
    emulator::wait(warp.barrier);
    Number other;
    memcpy(&other, warp.slots[lane ^ step], sizeof x);
    emulator::wait(warp.barrier);
    return other;
}

// What attention_tensor.cu takes of tensor cores, under the same names.
static inline unsigned pack(float first, float second) {
    unsigned halves[2];
    float both[2] = {first, second};
    for (int i = 0; i < 2; i++) {
        unsigned bits = __float_as_uint(both[i]);
        halves[i] = both[i] == both[i] ? (bits + 0x7fff + ((bits >> 16) & 1)) >> 16 : 0x7fff;
    }
    return halves[0] | halves[1] << 16;
}

static inline void multiply_add(float out[4], const unsigned left[4], const unsigned right[2]) {
    unsigned self = emulator::current, lane = self % emulator::LANES;
    emulator::Warp &warp = emulator::warps[self / emulator::LANES];
    memcpy(warp.factors[lane], left, 16);
    memcpy(warp.factors[lane] + 4, right, 8);
    emulator::wait(warp.barrier);
    // Number `k` of a row of the left, or of a column of the right: of lane 4·(row or column) + k / 2 % 4.
    auto number = [&](unsigned line, unsigned k, unsigned word) {
        unsigned both = warp.factors[4 * line + k / 2 % 4][word];
        return __uint_as_float(k % 2 ? both & 0xffff0000u : both << 16);
    };
    for (unsigned i = 0; i < 4; i++) {
        unsigned row = lane / 4, half = i / 2, column = lane % 4 * 2 + i % 2;
        double sum = out[i];
        for (unsigned k = 0; k < 16; k++)
            sum += (double)number(row, k, half + k / 8 * 2) * number(column, k, 4 + k / 8);
        out[i] = (float)sum;
    }
    emulator::wait(warp.barrier);
}
