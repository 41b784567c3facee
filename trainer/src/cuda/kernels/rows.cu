// Work on rows: embeddings, layer norms, GELU, and sums over the rows of a batch.
//
// A warp takes a row, its lanes every 32nd column. Where a gradient needs the sum over all rows, a block takes a strip of
// them and writes its part of the sum; add_partials adds the parts up in a fixed order. There are no atomic additions, so
// the same run gives the same bits.

// The row of each table that a token takes.
struct Token {
    u32 word, position, kind;
};

struct Moments {
    float mean, scale;
};

// Mean, and one over the standard deviation, by a warp.
__device__ inline Moments moments(const float *z, int width, float eps) {
    int lane = threadIdx.x % WARP;
    float sum = 0.0f;
    for (int i = lane; i < width; i += WARP) sum += z[i];
    float mean = lanes_sum(sum, WARP) / width;
    float squares = 0.0f;
    for (int i = lane; i < width; i += WARP) squares += (z[i] - mean) * (z[i] - mean);
    float variance = lanes_sum(squares, WARP) / width;
    return Moments{mean, 1.0f / sqrtf(variance + eps)};
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
extern "C" __global__ void norm_forward(NormForward a) {
    int row = blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP, lane = threadIdx.x % WARP;
    if (row >= a.rows) return;
    u64 start = (u64)row * a.width;
    float *z = a.z + start;
    const float *residual = a.residual + (a.from ? (u64)a.from[row] * a.width : start);
    for (int i = lane; i < a.width; i += WARP)
        z[i] = residual[i] + factor(a.dropout, (u32)start + i) * (z[i] + a.added[i]);
    Moments m = moments(z, a.width, a.eps);
    for (int i = lane; i < a.width; i += WARP) {
        float y = (z[i] - m.mean) * m.scale * a.weight[i] + a.bias[i];
        a.y[start + i] = y;
        if (a.operand) store(a.operand + start + i, y);
    }
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
extern "C" __global__ void embed_forward(EmbedForward a) {
    int row = blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP, lane = threadIdx.x % WARP;
    if (row >= a.rows) return;
    u64 start = (u64)row * a.width;
    float *z = a.z + start;
    Token token = a.tokens[row];
    const float *word = a.word + (u64)token.word * a.width;
    const float *position = a.position + (u64)token.position * a.width;
    const float *kind = a.kind + (u64)token.kind * a.width;
    for (int i = lane; i < a.width; i += WARP) z[i] = word[i] + position[i] + kind[i];
    Moments m = moments(z, a.width, a.eps);
    for (int i = lane; i < a.width; i += WARP) {
        float y = ((z[i] - m.mean) * m.scale * a.weight[i] + a.bias[i]) * factor(a.dropout, (u32)start + i);
        a.y[start + i] = y;
        if (a.operand) store(a.operand + start + i, y);
    }
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
extern "C" __global__ void norm_backward(NormBackward a) {
    __shared__ Moments kept[STRIP];
    int first = blockIdx.x * STRIP, lane = threadIdx.x % WARP, width = a.width;
    bool embedding = !a.dx;
    for (int local = threadIdx.x / WARP; local < STRIP && first + local < a.rows; local += blockDim.x / WARP) {
        u64 start = (u64)(first + local) * width;
        const float *z = a.z + start, *dy = a.dy + start;
        Moments m = moments(z, width, a.eps);
        if (lane == 0) kept[local] = m;
        float sum = 0.0f, projected = 0.0f;
        for (int i = lane; i < width; i += WARP) {
            float u = dy[i] * a.weight[i];
            if (embedding) u *= factor(a.dropout, (u32)start + i);
            sum += u;
            projected += u * ((z[i] - m.mean) * m.scale);
        }
        sum = lanes_sum(sum, WARP) / width;
        projected = lanes_sum(projected, WARP) / width;
        for (int i = lane; i < width; i += WARP) {
            float mask = factor(a.dropout, (u32)start + i);
            float u = dy[i] * a.weight[i] * (embedding ? mask : 1.0f);
            float dz = m.scale * (u - sum - (z[i] - m.mean) * m.scale * projected);
            a.dz[start + i] = dz;
            if (!embedding) store(a.dx + start + i, dz * mask);
        }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < width; i += blockDim.x) {
        float dweight = 0.0f, dbias = 0.0f, dadded = 0.0f;
        for (int local = 0; local < STRIP && first + local < a.rows; local++) {
            u64 at = (u64)(first + local) * width + i;
            float mask = factor(a.dropout, (u32)at);
            float dy = a.dy[at] * (embedding ? mask : 1.0f);
            dweight += dy * ((a.z[at] - kept[local].mean) * kept[local].scale);
            dbias += dy;
            dadded += a.dz[at] * mask;
        }
        float *out = a.partials + (u64)blockIdx.x * 3 * width + i;
        out[0] = dweight;
        out[width] = dbias;
        out[2 * width] = dadded;
    }
}

// The standard normal distribution function at x, and x times its density.
struct Normal {
    float cdf, density;
};

__device__ inline Normal normal(float x) {
    return Normal{0.5f * erfcf(-0.70710678f * x), 0.39894228f * x * expf(-0.5f * x * x)};
}

struct Gelu {
    const Operand *h;
    const float *bias;
    Operand *a;      // gets g(h + bias)
    Operand *d;      // backward: holds the gradient of a, gets that of h; else null
    float *partials; // backward: [strips][width]
    int rows, width;
};

extern "C" __global__ void gelu_forward(Gelu a) {
    int i = blockIdx.y * blockDim.x + threadIdx.x, row = blockIdx.x;
    if (i >= a.width) return;
    u64 at = (u64)row * a.width + i;
    float x = load(a.h + at) + a.bias[i];
    store(a.a + at, x * normal(x).cdf);
}

extern "C" __global__ void gelu_backward(Gelu a) {
    int i = blockIdx.y * blockDim.x + threadIdx.x;
    if (i >= a.width) return;
    float bias = a.bias[i], sum = 0.0f;
    for (int row = blockIdx.x * STRIP; row < a.rows && row < (int)(blockIdx.x + 1) * STRIP; row++) {
        u64 at = (u64)row * a.width + i;
        float x = load(a.h + at) + bias;
        Normal n = normal(x);
        float d = load(a.d + at) * (n.cdf + n.density);
        store(a.a + at, x * n.cdf);
        store(a.d + at, d);
        sum += d;
    }
    a.partials[(u64)blockIdx.x * a.width + i] = sum;
}

struct ColumnSums {
    const Operand *x;
    float *partials; // [strips][width]
    int rows, width;
};

extern "C" __global__ void column_sums(ColumnSums a) {
    int i = blockIdx.y * blockDim.x + threadIdx.x;
    if (i >= a.width) return;
    float sum = 0.0f;
    for (int row = blockIdx.x * STRIP; row < a.rows && row < (int)(blockIdx.x + 1) * STRIP; row++)
        sum += load(a.x + (u64)row * a.width + i);
    a.partials[(u64)blockIdx.x * a.width + i] = sum;
}

struct AddPartials {
    const float *partials; // [strips][parts][width]
    float *sums[3];        // what the sum of each part is added to
    int strips, parts, width, added; // as many parts are added, from the first on
};

// Eight threads a column, each adding every eighth strip.
extern "C" __global__ void add_partials(AddPartials a) {
    __shared__ float eighths[BLOCK / WARP][WARP];
    int i = blockIdx.x * WARP + threadIdx.x % WARP, group = threadIdx.x / WARP, part = blockIdx.y;
    float sum = 0.0f;
    if (i < a.width)
        for (int strip = group; strip < a.strips; strip += BLOCK / WARP)
            sum += a.partials[((u64)strip * a.parts + part) * a.width + i];
    eighths[group][threadIdx.x % WARP] = sum;
    __syncthreads();
    if (group > 0 || i >= a.width) return;
    for (int other = 1; other < BLOCK / WARP; other++) sum += eighths[other][threadIdx.x];
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
