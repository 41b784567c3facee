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

extern "C" __global__ void adamw(AdamW a) {
    Chunk chunk = a.chunks[blockIdx.x];
    Update u = a.updates[chunk.parameter];
    for (u32 i = threadIdx.x; i < chunk.count; i += BLOCK) {
        u64 at = chunk.begin + i;
        float g = a.g[at] * u.scale, m = a.m[at], v = a.v[at];
        m = fmaf(u.fresh1, g - m, m);
        v = fmaf(u.fresh2 * g, g, u.beta2 * v);
        float p = fmaf(-u.rate, m / fmaf(sqrtf(v), u.spread, u.eps), a.p[at] * u.keep);
        a.m[at] = m;
        a.v[at] = v;
        a.p[at] = p;
        a.g[at] = 0.0f;
        if (a.narrowed) store(a.narrowed + at, p);
    }
}
