// AdamW over all parameters at once, and the norm of all gradients: formulas in kernels/adamw.rs.

#define CHUNK 4096

struct Squares {
    const float *x;
    double *terms; // [chunks]
    u64 count;
};

// Σ x² of a chunk: float for a thread's sixteen, double beyond.
extern "C" __global__ void squares(Squares a) {
    __shared__ double warps[BLOCK / WARP];
    u64 begin = (u64)blockIdx.x * CHUNK;
    float own = 0.0f;
    for (int i = threadIdx.x; i < CHUNK; i += BLOCK) {
        float x = begin + i < a.count ? a.x[begin + i] : 0.0f;
        own += x * x;
    }
    double sum = lanes_sum((double)own, WARP);
    if (threadIdx.x % WARP == 0) warps[threadIdx.x / WARP] = sum;
    __syncthreads();
    if (threadIdx.x > 0) return;
    for (int warp = 1; warp < BLOCK / WARP; warp++) sum += warps[warp];
    a.terms[blockIdx.x] = sum;
}

// Numbers of one parameter that a block moves.
struct Chunk {
    u64 begin;
    u32 count, parameter;
};

// As Update in kernels/adamw.rs.
struct Update {
    float keep, rate, spread, fresh1, beta2, fresh2, eps, scale;
};

struct AdamW {
    float *p, *g, *m, *v; // all parameters; g is zero afterwards
    bf16 *narrowed;       // p once more, where operands are bf16; else null
    const Chunk *chunks;
    const Update *updates; // one for each parameter
    u64 chunk_count;       // as many blocks
};

template <int N> __device__ inline void move_chunk(const AdamW &a, const Chunk &chunk, const Update &u) {
    for (u32 i = N * threadIdx.x; i < chunk.count; i += N * BLOCK) {
        u64 at = chunk.begin + i;
        float p[N], g[N], m[N], v[N];
        load_group(p, a.p + at);
        load_group(g, a.g + at);
        load_group(m, a.m + at);
        load_group(v, a.v + at);
        for (int j = 0; j < N; j++) {
            g[j] *= u.scale;
            m[j] = fmaf(u.fresh1, g[j] - m[j], m[j]);
            v[j] = fmaf(u.fresh2 * g[j], g[j], u.beta2 * v[j]);
            p[j] = fmaf(-u.rate, m[j] / fmaf(sqrtf(v[j]), u.spread, u.eps), p[j] * u.keep);
            g[j] = 0.0f;
        }
        store_group(a.p + at, p);
        store_group(a.g + at, g);
        store_group(a.m + at, m);
        store_group(a.v + at, v);
        if (a.narrowed) store_group(a.narrowed + at, p);
    }
}

extern "C" __global__ void adamw(AdamW a) {
    Chunk chunk = a.chunks[blockIdx.x];
    Update u = a.updates[chunk.parameter];
    (chunk.begin | chunk.count) % 4 ? move_chunk<1>(a, chunk, u) : move_chunk<4>(a, chunk, u);
}
