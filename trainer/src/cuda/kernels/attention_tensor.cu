// The same attention for rows of bf16, by tensor cores: with MIXED=1 this is compiled, with MIXED=0 attention.cu's.
//
// A block is WARPS warps of 16 rows each of its own side, whose rows are the left factors and stay in registers. Tiles
// of the other side pass by in shared memory, in pairs of bf16 as the right factors are read: pairs along a row for the
// products over columns (S, dP), pairs down a column for those over rows (O, dV, dK, dQ).
//
// Where a block's own side is keys, S and dP are computed transposed, so that its rows are keys there too. A tensor
// core leaves its result in the very places of the lanes where it reads a left factor: P and dS go from one product to
// the next in registers, rounded to bf16.
#if MIXED

#define WARPS 4
#define THREADS (WARPS * WARP)
#define BLOCK_ROWS (16 * WARPS)
// Blocks that a multiprocessor is to hold at a time: as many as spill no registers on compute capability 8.0 and 9.0.
// From 10.0 on the compiler takes more of them.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
#define RESIDENT 1
#else
#define RESIDENT (HEAD <= 32 ? 4 : HEAD <= 64 ? 3 : 1)
#endif
// Products that a row of a head takes, and its columns with the zeros behind them.
#define STEPS ((HEAD + 15) / 16)
#define WIDE (16 * STEPS)
// Pairs of rows and columns of a tile that a thread carries.
#define SHARE ((TILE / 2 * WIDE / 2 + THREADS - 1) / THREADS)

#ifndef EMULATED
// Two floats, rounded to nearest, ties to even; the first in the lower half.
__device__ inline u32 pack(float first, float second) {
    u32 both;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(second), "f"(first));
    return both;
}

// out += left·right, of 16 × 16 and 16 × 8. With g = lane / 4 and t = lane % 4 a lane has of the left the rows g and
// g + 8, columns 2t, 2t + 1, then those 8 further on; of the right the same columns as rows, column g; of the result
// the rows g, g + 8, columns 2t, 2t + 1.
__device__ inline void multiply_add(float out[4], const u32 left[4], const u32 right[2]) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(out[0]), "+f"(out[1]), "+f"(out[2]), "+f"(out[3])
        : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(right[0]), "r"(right[1]));
}
#endif

// A warp's 16 rows as left factors.
typedef u32 Left[STEPS][4];
// 16 rows × 8 columns of a result for each index.
typedef float Scores[TILE / 8][4];
typedef float Columns[WIDE / 8][4];

// A tile in shared memory. The four words more than are filled let the lanes of a warp read from different banks.
struct ByRow {
    u32 pairs[TILE][WIDE / 2 + 4];
};

struct ByColumn {
    u32 pairs[WIDE][TILE / 2 + 4];
};

// Rows of one head in memory, with the bias that is still to be added, if any.
struct Source {
    const Operand *from;
    const float *bias;
    int stride, count;
};

// Rows of a head: `row` is the sequence's first.
__device__ inline Source source(const Operand *from, const float *bias, u64 row, int stride, int column, int count) {
    return Source{from + row * stride + column, bias ? bias + column : 0, stride, count};
}

// Columns c and c + 1 of a row, without the bias; zeros outside. c is even.
__device__ inline u32 bare(const Source &s, int row, int c) {
    if (row >= s.count || c >= HEAD) return 0;
    const Operand *at = s.from + row * s.stride + c;
#if HEAD % 2
    return at[0].bits | (c + 1 < HEAD ? (u32)at[1].bits << 16 : 0);
#else
    return *(const u32 *)at;
#endif
}

// The same with it.
__device__ inline u32 biased(const Source &s, int row, int c, u32 bits) {
    if (!s.bias || row >= s.count || c >= HEAD) return bits;
    float more = c + 1 < HEAD ? s.bias[c + 1] : 0.0f;
    return pack(__uint_as_float(bits << 16) + s.bias[c], __uint_as_float(bits & 0xffff0000u) + more);
}

__device__ inline void load_left(Left left, const Source &s, int first) {
    int lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
#pragma unroll
    for (int step = 0; step < STEPS; step++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int row = first + g + 8 * (i % 2), c = 16 * step + 2 * t + 8 * (i / 2);
            left[step][i] = biased(s, row, c, bare(s, row, c));
        }
}

// A thread's share of a tile on its way to shared memory: two rows' pairs each time. It is fetched before the tile that
// is there is worked on, and arrives meanwhile.
struct Share {
    u32 upper[SHARE], lower[SHARE];
};

__device__ inline int share_row(int i) { return (threadIdx.x + i * THREADS) / (WIDE / 2) * 2; }

__device__ inline int share_column(int i) { return (threadIdx.x + i * THREADS) % (WIDE / 2) * 2; }

// Of rows first..first + TILE.
__device__ inline void fetch(Share &share, const Source &s, int first) {
#pragma unroll
    for (int i = 0; i < SHARE; i++) {
        int row = share_row(i), c = share_column(i);
        share.upper[i] = row < TILE ? bare(s, first + row, c) : 0;
        share.lower[i] = row < TILE ? bare(s, first + row + 1, c) : 0;
    }
}

// Puts them down, in one form or in both.
template <bool ROWS, bool COLUMNS>
__device__ inline void put(ByRow *by_row, ByColumn *by_column, const Share &share, const Source &s, int first) {
#pragma unroll
    for (int i = 0; i < SHARE; i++) {
        int row = share_row(i), c = share_column(i);
        if (row >= TILE) continue;
        u32 upper = biased(s, first + row, c, share.upper[i]), lower = biased(s, first + row + 1, c, share.lower[i]);
        if (ROWS) {
            by_row->pairs[row][c / 2] = upper;
            by_row->pairs[row + 1][c / 2] = lower;
        }
        if (COLUMNS) {
            by_column->pairs[c][row / 2] = (upper & 0xffff) | lower << 16;
            by_column->pairs[c + 1][row / 2] = upper >> 16 | (lower & 0xffff0000u);
        }
    }
}

// out = a·bᵀ
__device__ inline void across(Scores out, Left a, const ByRow &b) {
    int lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
#pragma unroll
    for (int n = 0; n < TILE / 8; n++) {
        for (int i = 0; i < 4; i++) out[n][i] = 0.0f;
#pragma unroll
        for (int step = 0; step < STEPS; step++) {
            const u32 *row = b.pairs[8 * n + g] + 8 * step + t;
            u32 right[2] = {row[0], row[4]};
            multiply_add(out[n], a[step], right);
        }
    }
}

// out += s·b
__device__ inline void along(Columns out, const Scores s, const ByColumn &b) {
    int lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
#pragma unroll
    for (int k = 0; k < TILE / 16; k++) {
        const float *near = s[2 * k], *far = s[2 * k + 1];
        u32 left[4] = {pack(near[0], near[1]), pack(near[2], near[3]), pack(far[0], far[1]), pack(far[2], far[3])};
#pragma unroll
        for (int n = 0; n < WIDE / 8; n++) {
            const u32 *column = b.pairs[8 * n + g] + 8 * k + t;
            u32 right[2] = {column[0], column[4]};
            multiply_add(out[n], left, right);
        }
    }
}

// Writes a warp's rows first..first + 16, as far as there are rows.
__device__ inline void store_rows(Operand *to, const Columns x, u64 row, int stride, int column, int first, int count) {
    int lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int local = first + g + 8 * half;
        if (local >= count) continue;
        Operand *at = to + (row + local) * stride + column;
#pragma unroll
        for (int n = 0; n < WIDE / 8; n++) {
            int c = 8 * n + 2 * t;
#if HEAD % 2
            for (int j = 0; j < 2; j++)
                if (c + j < HEAD) store(at + c + j, x[n][2 * half + j]);
#else
            if (c < HEAD) *(u32 *)(at + c) = pack(x[n][2 * half], x[n][2 * half + 1]);
#endif
        }
    }
}

extern "C" __global__ void attention_forward(Attention a) {
    __shared__ ByRow k;
    __shared__ ByColumn v;
    Place at = place(a);
    int block = blockIdx.z * BLOCK_ROWS, first = block + threadIdx.x / WARP * 16;
    if (block >= at.asking) return;
    int lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4, width = a.heads * HEAD;
    Source keys = source(a.keys, a.key_bias, at.first, a.key_stride, at.column, at.keys);
    Source values = source(a.values, a.value_bias, at.first, a.key_stride, at.column, at.keys);
    Left q;
    load_left(q, source(a.queries, a.query_bias, at.first_query, a.query_stride, at.column, at.asking), first);
    Columns out = {};
    float largest[2] = {MINUS_INFINITY, MINUS_INFINITY}, total[2] = {};
    Share next_k, next_v;
    fetch(next_k, keys, 0);
    fetch(next_v, values, 0);
    for (int begin = 0; begin < at.keys; begin += TILE) {
        __syncthreads();
        put<true, false>(&k, 0, next_k, keys, begin);
        put<false, true>(0, &v, next_v, values, begin);
        __syncthreads();
        fetch(next_k, keys, begin + TILE);
        fetch(next_v, values, begin + TILE);
        if (first >= at.asking) continue;
        Scores s;
        across(s, q, k);
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float most = largest[half];
#pragma unroll
            for (int i = 0; i < TILE / 4; i++) {
                float &x = s[i / 2][2 * half + i % 2];
                x = begin + i / 2 * 8 + 2 * t + i % 2 < at.keys ? x * (a.scale * LOG2E) : MINUS_INFINITY;
                most = fmaxf(most, x);
            }
            most = lanes_max(most, 4);
            float keep = power_of_two(largest[half] - most), sum = 0.0f;
            u32 query = first + g + 8 * half;
#pragma unroll
            for (int i = 0; i < TILE / 4; i++) {
                float &x = s[i / 2][2 * half + i % 2];
                float e = power_of_two(x - most);
                sum += e;
                x = e * factor(at.dropout, query * at.keys + begin + i / 2 * 8 + 2 * t + i % 2);
            }
            total[half] = total[half] * keep + lanes_sum(sum, 4);
            largest[half] = most;
#pragma unroll
            for (int n = 0; n < WIDE / 8; n++)
                for (int j = 0; j < 2; j++) out[n][2 * half + j] *= keep;
        }
        along(out, s, v);
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int local = first + g + 8 * half;
        float whole = 1.0f / total[half];
#pragma unroll
        for (int n = 0; n < WIDE / 8; n++)
            for (int j = 0; j < 2; j++) out[n][2 * half + j] *= whole;
        if (t == 0 && local < at.asking)
            a.logsums[(at.first_query + local) * a.heads + blockIdx.y] = largest[half] + log2f(total[half]);
    }
    store_rows(a.context, out, at.first_query, width, at.column, first, at.asking);
}

// From a score and the gradient of its probability: P ∘ m and dS, in their places.
__device__ inline void gradient_of_score(const Attention &a, const Place &at, float &s, float &d, u32 query, u32 key,
                                         float logsum, float delta) {
    bool there = query < (u32)at.asking && key < (u32)at.keys;
    float p = there ? power_of_two(s * (a.scale * LOG2E) - logsum) : 0.0f;
    float m = factor(at.dropout, query * at.keys + key);
    s = p * m;
    d = p * (d * m - delta) * a.scale;
}

// dQ of a block's queries.
extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT) attention_queries(Attention a) {
    __shared__ ByRow k_rows, v_rows;
    __shared__ ByColumn k_columns;
    Place at = place(a);
    int block = blockIdx.z * BLOCK_ROWS, first = block + threadIdx.x / WARP * 16;
    if (block >= at.asking) return;
    int lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
    Source keys = source(a.keys, a.key_bias, at.first, a.key_stride, at.column, at.keys);
    Source values = source(a.values, a.value_bias, at.first, a.key_stride, at.column, at.keys);
    Left q, dcontext;
    load_left(q, source(a.queries, a.query_bias, at.first_query, a.query_stride, at.column, at.asking), first);
    load_left(dcontext, source(a.dcontext, 0, at.first_query, a.heads * HEAD, at.column, at.asking), first);
    float logsums[2], deltas[2];
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int query = first + g + 8 * half;
        logsums[half] = of_query(a.logsums, a, at, query);
        deltas[half] = delta(a, at, query, t, 4);
    }
    Columns dq = {};
    Share next_k, next_v;
    fetch(next_k, keys, 0);
    fetch(next_v, values, 0);
    for (int begin = 0; begin < at.keys; begin += TILE) {
        __syncthreads();
        put<true, true>(&k_rows, &k_columns, next_k, keys, begin);
        put<true, false>(&v_rows, 0, next_v, values, begin);
        __syncthreads();
        fetch(next_k, keys, begin + TILE);
        fetch(next_v, values, begin + TILE);
        if (first >= at.asking) continue;
        Scores s, d;
        across(s, q, k_rows);
        across(d, dcontext, v_rows);
#pragma unroll
        for (int n = 0; n < TILE / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                gradient_of_score(a, at, s[n][i], d[n][i], first + g + i / 2 * 8, begin + 8 * n + 2 * t + i % 2,
                                  logsums[i / 2], deltas[i / 2]);
        along(dq, d, k_columns);
    }
    store_rows(a.dqueries, dq, at.first_query, a.query_stride, at.column, first, at.asking);
}

// dK and dV of a block's keys.
extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT) attention_keys(Attention a) {
    __shared__ ByRow q_rows, d_rows;
    __shared__ ByColumn q_columns, d_columns;
    __shared__ float logsums[TILE], deltas[TILE];
    Place at = place(a);
    int block = blockIdx.z * BLOCK_ROWS, first = block + threadIdx.x / WARP * 16;
    if (block >= at.keys) return;
    int lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
    Source queries = source(a.queries, a.query_bias, at.first_query, a.query_stride, at.column, at.asking);
    Source gradients = source(a.dcontext, 0, at.first_query, a.heads * HEAD, at.column, at.asking);
    Left k, v;
    load_left(k, source(a.keys, a.key_bias, at.first, a.key_stride, at.column, at.keys), first);
    load_left(v, source(a.values, a.value_bias, at.first, a.key_stride, at.column, at.keys), first);
    Columns dk = {}, dv = {};
    Share next_q, next_d;
    fetch(next_q, queries, 0);
    fetch(next_d, gradients, 0);
    for (int begin = 0; begin < at.asking; begin += TILE) {
        __syncthreads();
        put<true, true>(&q_rows, &q_columns, next_q, queries, begin);
        put<true, true>(&d_rows, &d_columns, next_d, gradients, begin);
        if (threadIdx.x < TILE) {
            logsums[threadIdx.x] = of_query(a.logsums, a, at, begin + threadIdx.x);
            deltas[threadIdx.x] = of_query(a.deltas, a, at, begin + threadIdx.x);
        }
        __syncthreads();
        fetch(next_q, queries, begin + TILE);
        fetch(next_d, gradients, begin + TILE);
        if (first >= at.keys) continue;
        Scores s, d;
        across(s, k, q_rows);
        across(d, v, d_rows);
#pragma unroll
        for (int n = 0; n < TILE / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                int local = 8 * n + 2 * t + i % 2;
                gradient_of_score(a, at, s[n][i], d[n][i], begin + local, first + g + i / 2 * 8, logsums[local],
                                  deltas[local]);
            }
        along(dv, s, d_columns);
        along(dk, d, q_columns);
    }
    store_rows(a.dkeys, dk, at.first, a.key_stride, at.column, first, at.keys);
    store_rows(a.dvalues, dv, at.first, a.key_stride, at.column, first, at.keys);
}

#endif
