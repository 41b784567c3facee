// Work on rows: embeddings, layer norms, GELU, and sums over the rows of a batch.
//
// A warp takes a row, its lanes every 32nd column or group of columns: neighbours are moved together where the width is
// a multiple of their number. Where a gradient needs the sum over all rows, a block takes a strip of them and writes
// its part of the sum; add_partials adds the parts up in a fixed order. There are no atomic additions, so the same run
// gives the same bits.

// The row of each table that a token takes.
struct Token {
    u32 word, position, kind;
};

struct Moments {
    float mean, scale;
};

// Mean, and one over the standard deviation, by a warp that has the sums of its lanes' numbers.
template <int N> __device__ inline Moments moments(float sum, const float *z, int width, float eps) {
    float mean = lanes_sum(sum, WARP) / width, squares = 0.0f;
    for (int i = N * (threadIdx.x % WARP); i < width; i += N * WARP) {
        float x[N];
        load_group(x, z + i);
        for (int j = 0; j < N; j++) squares += (x[j] - mean) * (x[j] - mean);
    }
    float variance = lanes_sum(squares, WARP) / width;
    return Moments{mean, 1.0f / sqrtf(variance + eps)};
}

template <int N> __device__ inline float own_sum(const float *z, int width) {
    float sum = 0.0f;
    for (int i = N * (threadIdx.x % WARP); i < width; i += N * WARP) {
        float x[N];
        load_group(x, z + i);
        for (int j = 0; j < N; j++) sum += x[j];
    }
    return sum;
}

// y = m·norm(z) of a row that begins at element `start`, once more as an operand where that is asked for.
template <int N>
__device__ inline void write_normed(const float *z, Moments m, const float *weight, const float *bias, Dropout dropout,
                                    u64 start, int width, float *y, Operand *operand) {
    for (int i = N * (threadIdx.x % WARP); i < width; i += N * WARP) {
        float x[N], g[N], b[N];
        load_group(x, z + i);
        load_group(g, weight + i);
        load_group(b, bias + i);
        for (int j = 0; j < N; j++)
            x[j] = ((x[j] - m.mean) * m.scale * g[j] + b[j]) * factor(dropout, (u32)start + i + j);
        store_group(y + start + i, x);
        if (operand) store_group(operand + start + i, x);
    }
}

struct NormForward {
    const float *weight, *bias; // of the norm
    const float *added;         // bias of the product before; null in embeddings
    const float *residual;      // null in embeddings
    const u32 *from;            // row of the residual that each row takes; null: its own
    float *z;                   // holds the product; gets the sum that the norm reads
    float *y;
    Operand *operand;           // y once more, where operands are bf16; else null
    Dropout dropout;
    int rows, width;
    float eps;
};

// z = residual + m·(z + added), y = norm(z), for one row.
template <int N> __device__ inline void norm_forward_row(const NormForward &a, int row) {
    int lane = threadIdx.x % WARP;
    u64 start = (u64)row * a.width;
    float *z = a.z + start, own = 0.0f;
    const float *residual = a.residual + (a.from ? (u64)a.from[row] * a.width : start);
    for (int i = N * lane; i < a.width; i += N * WARP) {
        float x[N], added[N], before[N];
        load_group(x, z + i);
        load_group(added, a.added + i);
        load_group(before, residual + i);
        for (int j = 0; j < N; j++) {
            x[j] = before[j] + factor(a.dropout, (u32)start + i + j) * (x[j] + added[j]);
            own += x[j];
        }
        store_group(z + i, x);
    }
    Moments m = moments<N>(own, z, a.width, a.eps);
    // Dropout was that of the product.
    write_normed<N>(z, m, a.weight, a.bias, Dropout{}, start, a.width, a.y, a.operand);
}

extern "C" __global__ void norm_forward(NormForward a) {
    int row = blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
    if (row >= a.rows) return;
    a.width % 4 ? norm_forward_row<1>(a, row) : norm_forward_row<4>(a, row);
}

struct EmbedForward {
    const float *word, *position, *kind;
    const Token *tokens;
    const float *weight, *bias;
    float *z, *y;
    Operand *operand;
    Dropout dropout;
    int rows, width;
    float eps;
};

// z = word + position + kind, y = m·norm(z), for one row.
template <int N> __device__ inline void embed_forward_row(const EmbedForward &a, int row) {
    int lane = threadIdx.x % WARP;
    u64 start = (u64)row * a.width;
    float *z = a.z + start, own = 0.0f;
    Token token = a.tokens[row];
    const float *word = a.word + (u64)token.word * a.width;
    const float *position = a.position + (u64)token.position * a.width;
    const float *kind = a.kind + (u64)token.kind * a.width;
    for (int i = N * lane; i < a.width; i += N * WARP) {
        float x[N], second[N], third[N];
        load_group(x, word + i);
        load_group(second, position + i);
        load_group(third, kind + i);
        for (int j = 0; j < N; j++) {
            x[j] += second[j] + third[j];
            own += x[j];
        }
        store_group(z + i, x);
    }
    Moments m = moments<N>(own, z, a.width, a.eps);
    write_normed<N>(z, m, a.weight, a.bias, a.dropout, start, a.width, a.y, a.operand);
}

extern "C" __global__ void embed_forward(EmbedForward a) {
    int row = blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
    if (row >= a.rows) return;
    a.width % 4 ? embed_forward_row<1>(a, row) : embed_forward_row<4>(a, row);
}

struct NormBackward {
    const float *z, *dy, *weight;
    float *dz;
    Operand *dx;     // gradient of the product before; null in embeddings
    float *partials; // [strips][3][width]: of the weight, of the bias, of the product's bias
    Dropout dropout; // of the product; in embeddings of y
    int rows, width;
    float eps;
};

// Layer norm backward over a strip of rows: first row by row, then column by column.
template <int N> __device__ inline void norm_backward_strip(const NormBackward &a, Moments kept[STRIP]) {
    int first = blockIdx.x * STRIP, lane = threadIdx.x % WARP, width = a.width;
    bool embedding = !a.dx;
    for (int local = threadIdx.x / WARP; local < STRIP && first + local < a.rows; local += blockDim.x / WARP) {
        u64 start = (u64)(first + local) * width;
        const float *z = a.z + start, *dy = a.dy + start;
        Moments m = moments<N>(own_sum<N>(z, width), z, width, a.eps);
        if (lane == 0) kept[local] = m;
        float sum = 0.0f, projected = 0.0f;
        for (int i = N * lane; i < width; i += N * WARP) {
            float u[N], weight[N], x[N];
            load_group(u, dy + i);
            load_group(weight, a.weight + i);
            load_group(x, z + i);
            for (int j = 0; j < N; j++) {
                u[j] *= weight[j];
                if (embedding) u[j] *= factor(a.dropout, (u32)start + i + j);
                sum += u[j];
                projected += u[j] * ((x[j] - m.mean) * m.scale);
            }
        }
        sum = lanes_sum(sum, WARP) / width;
        projected = lanes_sum(projected, WARP) / width;
        for (int i = N * lane; i < width; i += N * WARP) {
            float u[N], weight[N], x[N], dz[N], dx[N];
            load_group(u, dy + i);
            load_group(weight, a.weight + i);
            load_group(x, z + i);
            for (int j = 0; j < N; j++) {
                float mask = factor(a.dropout, (u32)start + i + j);
                u[j] *= weight[j] * (embedding ? mask : 1.0f);
                dz[j] = m.scale * (u[j] - sum - (x[j] - m.mean) * m.scale * projected);
                dx[j] = dz[j] * mask;
            }
            store_group(a.dz + start + i, dz);
            if (!embedding) store_group(a.dx + start + i, dx);
        }
    }
    __syncthreads();
    for (int i = N * threadIdx.x; i < width; i += N * blockDim.x) {
        float dweight[N] = {}, dbias[N] = {}, dadded[N] = {};
#pragma unroll 4
        for (int local = 0; local < STRIP; local++) {
            if (first + local >= a.rows) break;
            u64 at = (u64)(first + local) * width + i;
            float dy[N], x[N], dz[N];
            load_group(dy, a.dy + at);
            load_group(x, a.z + at);
            load_group(dz, a.dz + at);
            for (int j = 0; j < N; j++) {
                float mask = factor(a.dropout, (u32)at + j);
                dy[j] *= embedding ? mask : 1.0f;
                dweight[j] += dy[j] * ((x[j] - kept[local].mean) * kept[local].scale);
                dbias[j] += dy[j];
                dadded[j] += dz[j] * mask;
            }
        }
        float *out = a.partials + (u64)blockIdx.x * 3 * width + i;
        store_group(out, dweight);
        store_group(out + width, dbias);
        store_group(out + 2 * width, dadded);
    }
}

extern "C" __global__ void norm_backward(NormBackward a) {
    __shared__ Moments kept[STRIP];
    a.width % 2 ? norm_backward_strip<1>(a, kept) : norm_backward_strip<2>(a, kept);
}

// The standard normal distribution function at x, and x times its density.
struct Normal {
    float cdf, density;
};

__device__ inline Normal normal(float x) {
#if MIXED
    // Abramowitz and Stegun, 7.1.26: off by 1.5e-7 at most, where bf16 has 4e-3, and one exponential for both.
    float e = power_of_two(-0.72134752f * x * x), t = __fdividef(1.0f, 1.0f + 0.23164189f * fabsf(x));
    float polynomial = 1.061405429f;
    polynomial = polynomial * t - 1.453152027f;
    polynomial = polynomial * t + 1.421413741f;
    polynomial = polynomial * t - 0.284496736f;
    polynomial = polynomial * t + 0.254829592f;
    float tail = 0.5f * e * t * polynomial;
    return Normal{x < 0.0f ? tail : 1.0f - tail, 0.39894228f * x * e};
#else
    return Normal{0.5f * erfcf(-0.70710678f * x), 0.39894228f * x * expf(-0.5f * x * x)};
#endif
}

struct Gelu {
    const Operand *h;
    const float *bias;
    Operand *a;      // gets g(h + bias)
    Operand *d;      // backward: holds the gradient of a, gets that of h; else null
    float *partials; // backward: [strips][width]
    int rows, width;
};

template <int N> __device__ inline void gelu_forward_group(const Gelu &a) {
    u64 at = N * ((u64)blockIdx.x * blockDim.x + threadIdx.x);
    if (at >= (u64)a.rows * a.width) return;
    float x[N], bias[N];
    load_group(x, a.h + at);
    load_group(bias, a.bias + at % a.width);
    for (int j = 0; j < N; j++) {
        x[j] += bias[j];
        x[j] *= normal(x[j]).cdf;
    }
    store_group(a.a + at, x);
}

extern "C" __global__ void gelu_forward(Gelu a) {
    a.width % 4 ? gelu_forward_group<1>(a) : gelu_forward_group<4>(a);
}

template <int N> __device__ inline void gelu_backward_strip(const Gelu &a) {
    int i = N * (blockIdx.y * blockDim.x + threadIdx.x);
    if (i >= a.width) return;
    float bias[N], sum[N] = {}, x[STRIP][N], d[STRIP][N];
    load_group(bias, a.bias + i);
    u64 start = (u64)blockIdx.x * STRIP * a.width + i;
    int rows = a.rows - blockIdx.x * STRIP;
    // All of them first: none waits for what is written of another.
#pragma unroll
    for (int row = 0; row < STRIP; row++) {
        if (row >= rows) break;
        load_group(x[row], a.h + start + (u64)row * a.width);
        load_group(d[row], a.d + start + (u64)row * a.width);
    }
#pragma unroll
    for (int row = 0; row < STRIP; row++) {
        if (row >= rows) break;
        for (int j = 0; j < N; j++) {
            float h = x[row][j] + bias[j];
            Normal n = normal(h);
            d[row][j] *= n.cdf + n.density;
            x[row][j] = h * n.cdf;
            sum[j] += d[row][j];
        }
        store_group(a.a + start + (u64)row * a.width, x[row]);
        store_group(a.d + start + (u64)row * a.width, d[row]);
    }
    store_group(a.partials + (u64)blockIdx.x * a.width + i, sum);
}

extern "C" __global__ void gelu_backward(Gelu a) {
    a.width % 2 ? gelu_backward_strip<1>(a) : gelu_backward_strip<2>(a);
}

struct ColumnSums {
    const Operand *x;
    float *partials; // [strips][width]
    int rows, width;
};

template <int N> __device__ inline void column_sums_strip(const ColumnSums &a) {
    int i = N * (blockIdx.y * blockDim.x + threadIdx.x);
    if (i >= a.width) return;
    float sum[N] = {};
#pragma unroll
    for (int local = 0; local < STRIP; local++) {
        int row = blockIdx.x * STRIP + local;
        if (row >= a.rows) break;
        float x[N];
        load_group(x, a.x + (u64)row * a.width + i);
        for (int j = 0; j < N; j++) sum[j] += x[j];
    }
    store_group(a.partials + (u64)blockIdx.x * a.width + i, sum);
}

extern "C" __global__ void column_sums(ColumnSums a) {
    a.width % 2 ? column_sums_strip<1>(a) : column_sums_strip<2>(a);
}

struct AddPartials {
    const float *partials; // [strips][parts][width]
    float *sums[3];        // what the sum of each part is added to
    int strips, parts, width, added; // as many parts are added, from the first on
};

// A thread of each warp for a column, each adding as many strips.
extern "C" __global__ void add_partials(AddPartials a) {
    __shared__ float shares[SUM_BLOCK / WARP][WARP];
    int i = blockIdx.x * WARP + threadIdx.x % WARP, group = threadIdx.x / WARP, part = blockIdx.y;
    float sum = 0.0f;
    if (i < a.width)
#pragma unroll 8
        for (int strip = group; strip < a.strips; strip += SUM_BLOCK / WARP)
            sum += a.partials[((u64)strip * a.parts + part) * a.width + i];
    shares[group][threadIdx.x % WARP] = sum;
    __syncthreads();
    if (group > 0 || i >= a.width) return;
    for (int other = 1; other < SUM_BLOCK / WARP; other++) sum += shares[other][threadIdx.x];
    a.sums[part][i] += sum;
}

struct Rows {
    const Operand *from;
    Operand *to;
    const float *more;
    float *sum;
    const u32 *places;
    int rows, width;
};

// Row i of `to` is row places[i] of `from`.
extern "C" __global__ void gather_rows(Rows a) {
    u64 from = (u64)a.places[blockIdx.x] * a.width, to = (u64)blockIdx.x * a.width;
    for (int i = threadIdx.x; i < a.width; i += blockDim.x) a.to[to + i] = a.from[from + i];
}

// Row i of `more` is added to row places[i] of `sum`; no place comes twice.
extern "C" __global__ void add_rows(Rows a) {
    u64 to = (u64)a.places[blockIdx.x] * a.width, from = (u64)blockIdx.x * a.width;
    for (int i = threadIdx.x; i < a.width; i += blockDim.x) a.sum[to + i] += a.more[from + i];
}

// A row of a table in its gradient, and the pieces whose sum is to be added there.
struct TableRow {
    u64 at;
    u32 first, end;
};

struct Scatter {
    const float *dz;
    const u32 *order;  // rows of dz, those of one table row together
    const u32 *pieces; // where each piece begins in `order`, then the end of the last
    float *sums;       // [pieces][width]
    const TableRow *rows;
    float *gradient;
    int width, piece_count, row_count; // as many blocks
};

// The sums of pieces of at most so many rows that take the same row of a table.
extern "C" __global__ void sum_pieces(Scatter a) {
    u32 first = a.pieces[blockIdx.x], end = a.pieces[blockIdx.x + 1];
    for (int i = threadIdx.x; i < a.width; i += blockDim.x) {
        float sum = 0.0f;
        for (u32 at = first; at < end; at++) sum += a.dz[(u64)a.order[at] * a.width + i];
        a.sums[(u64)blockIdx.x * a.width + i] = sum;
    }
}

extern "C" __global__ void add_pieces(Scatter a) {
    TableRow row = a.rows[blockIdx.x];
    for (int i = threadIdx.x; i < a.width; i += blockDim.x) {
        float sum = 0.0f;
        for (u32 piece = row.first; piece < row.end; piece++) sum += a.sums[(u64)piece * a.width + i];
        a.gradient[row.at + i] += sum;
    }
}

struct Narrow {
    const float *from;
    bf16 *to;
    u64 count;
};

extern "C" __global__ void narrow(Narrow a) {
    u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < a.count) store(a.to + i, a.from[i]);
}
