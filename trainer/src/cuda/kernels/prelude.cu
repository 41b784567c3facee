// What all kernels share: types, dropout's mask, sums over a warp.
//
// The files of this folder are compiled as one, this one first, once for each kind of operand: with MIXED=0 what matrix
// products read is float, with MIXED=1 bf16. HEAD is the columns of an attention head, TILE the rows that attention
// works on at a time. No header is included: NVRTC compiles this without a toolkit, and the tests compile it as C++.

typedef unsigned int u32;
typedef unsigned long long u64;

#define MINUS_INFINITY __uint_as_float(0xff800000u)

// The upper half of a float.
struct bf16 {
    unsigned short bits;
};

__device__ inline float load(const float *at) { return *at; }

__device__ inline float load(const bf16 *at) { return __uint_as_float((u32)at->bits << 16); }

__device__ inline void store(float *at, float x) { *at = x; }

// Rounds to nearest, ties to even; a NaN stays one.
__device__ inline void store(bf16 *at, float x) {
#if MIXED && !defined(EMULATED)
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(at->bits) : "f"(x));
#else
    u32 bits = __float_as_uint(x);
    u32 rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    at->bits = x == x ? rounded : (bits >> 16) | 0x40;
#endif
}

// N neighbours that are moved by one instruction, and lie as that asks: at a multiple of their size.
template <typename Number, int N> struct alignas(N * sizeof(Number)) Group {
    Number of[N];
};

template <int N, typename Number> __device__ inline void load_group(float (&x)[N], const Number *at) {
    Group<Number, N> group = *(const Group<Number, N> *)at;
    for (int i = 0; i < N; i++) x[i] = load(&group.of[i]);
}

template <int N, typename Number> __device__ inline void store_group(Number *at, const float (&x)[N]) {
    Group<Number, N> group;
    for (int i = 0; i < N; i++) store(&group.of[i], x[i]);
    *(Group<Number, N> *)at = group;
}

#if MIXED
typedef bf16 Operand;
#else
typedef float Operand;
#endif

// A mask over elements 0..2^32 as a function of (key, index): the same one as the CPU's, bit for bit.
struct Dropout {
    u32 threshold; // hashes below it are dropped; 0: nothing is
    float scale;   // 1 / (1 - p)
    u64 key;
};

__device__ inline float factor(Dropout dropout, u32 index) {
    if (dropout.threshold == 0) return 1.0f;
    u32 h = index ^ (u32)dropout.key;
    h ^= h >> 16;
    h = h * 0x85ebca6bu + (u32)(dropout.key >> 32);
    h ^= h >> 13;
    h *= 0xc2b2ae35u;
    h ^= h >> 16;
    return h >= dropout.threshold ? dropout.scale : 0.0f;
}

__device__ inline u64 mix(u64 x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

// The mask of part `index` of a place; `key` is the place's own, mixed once.
__device__ inline Dropout part(Dropout dropout, u32 index) {
    dropout.key = mix((dropout.key + 0x9e3779b97f4a7c15ull) ^ mix(index));
    return dropout;
}

// The sum of x over `lanes` neighbouring lanes, 2, 4 … 32, in every one of them.
template <typename Number> __device__ inline Number lanes_sum(Number x, int lanes) {
    for (int step = lanes / 2; step > 0; step /= 2) x += __shfl_xor_sync(0xffffffffu, x, step);
    return x;
}

__device__ inline float lanes_max(float x, int lanes) {
    for (int step = lanes / 2; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, step));
    return x;
}

#if MIXED
// 2^x where bf16 is what it goes into: to two units in the last place, and 0 where it is below the normal numbers.
__device__ inline float power_of_two(float x) {
#ifdef EMULATED
    return exp2f(x);
#else
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#endif
}
#endif

// Threads of a warp, rows whose column sums a block adds up, threads of most blocks and of add_partials.
#define WARP 32
#define STRIP 8
#define BLOCK 256
#define SUM_BLOCK 512
