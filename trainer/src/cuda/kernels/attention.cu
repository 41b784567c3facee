// Attention of every sequence and head, with its softmax and dropout, over packed rows. Nothing of the size of the
// square of a length is stored: the softmax is taken while the keys pass by, and going back the probabilities are made
// again from the sum that was kept (Dao et al., arXiv:2205.14135 and 2307.08691).
//
// With S = Q·Kᵀ, P = softmax(S / √d), m the dropout factors, O = (P ∘ m)·V:
//
//     dV = (P ∘ m)ᵀ·dO      dP = (dO·Vᵀ) ∘ m      dS = P ∘ (dP − rowsum(dO ∘ O)) / √d
//     dQ = dS·K             dK = dSᵀ·Q
//
// A block takes rows of one head of one sequence: of queries in attention_forward and attention_queries, of keys in
// attention_keys, and tiles of the other side pass by, TILE rows at a time. No two blocks write the same place, so
// nothing is added atomically and the bits are always the same.
//
// The biases of the product that made queries, keys and values are added here, where they are read.

// log2(e): softmax by powers of two.
#define LOG2E 1.44269504f

struct Attention {
    const Operand *queries, *keys, *values;
    const float *query_bias, *key_bias, *value_bias;
    Operand *context;
    float *logsums; // [rows of context][heads]: log2 of the softmax's denominator
    float *deltas;  // the same: rowsum(dO ∘ O), which attention_queries leaves for attention_keys
    const Operand *dcontext;
    Operand *dqueries, *dkeys, *dvalues;
    const u32 *starts; // first row of each sequence, then the end of the last
    Dropout dropout;   // of part sequence · heads + head; element query · keys + key
    int query_stride, key_stride, heads, only_first;
    float scale;                             // 1 / √d
    int sequences, query_tiles, key_tiles;   // as many blocks: sequences × heads × tiles
};

// What a block works on.
struct Place {
    u32 first;        // row of the sequence's first token
    int keys;         // rows of the sequence
    int asking;       // query rows: as many, or one
    u64 first_query;  // row of the first query, and of its context
    int column;       // of the head
    Dropout dropout;
};

__device__ inline Place place(const Attention &a) {
    Place p;
    int sequence = blockIdx.x, head = blockIdx.y;
    p.first = a.starts[sequence];
    p.keys = a.starts[sequence + 1] - p.first;
    p.asking = a.only_first ? 1 : p.keys;
    p.first_query = a.only_first ? sequence : p.first;
    p.column = head * HEAD;
    p.dropout = part(a.dropout, sequence * a.heads + head);
    return p;
}

// What is kept for a query of the block's head; 0 beyond the last.
__device__ inline float of_query(const float *kept, const Attention &a, const Place &at, int query) {
    return query < at.asking ? kept[(at.first_query + query) * a.heads + blockIdx.y] : 0.0f;
}

// Σ dO ∘ O of a query, by so many neighbouring lanes, of which this is number `lane`; it is also left for others.
__device__ inline float delta(const Attention &a, const Place &at, int query, int lane, int lanes) {
    u64 row = at.first_query + query, begin = row * a.heads * HEAD + at.column;
    bool there = query < at.asking;
    float sum = 0.0f;
    for (int c = lane; there && c < HEAD; c += lanes) sum += load(a.dcontext + begin + c) * load(a.context + begin + c);
    sum = lanes_sum(sum, lanes);
    if (there && lane == 0) a.deltas[row * a.heads + blockIdx.y] = sum;
    return sum;
}

// In f32, by the cores for single numbers; attention_tensor.cu is for bf16.
//
// A block is 8 × 16 threads, and its own side's rows are TILE too. In a square of TILE × TILE a thread has the rows y,
// y + 16 … and the columns x, x + 8 …; in a tile of TILE × HEAD the same. So eight neighbouring lanes share a row.
#if !MIXED

#define ACROSS 8
#define DOWN 16
#define TILE_ROWS (TILE / DOWN)
#define TILE_COLUMNS (TILE / ACROSS)
#define HEAD_COLUMNS ((HEAD + ACROSS - 1) / ACROSS)

typedef float HeadTile[TILE][HEAD + 1];
typedef float Square[TILE][TILE + 1];

// Rows first..first + TILE of one head; zeros from row `rows` on.
__device__ inline void load_tile(HeadTile tile, const Operand *from, const float *bias, u64 row, int stride, int column,
                                 int first, int rows) {
    for (int i = threadIdx.x; i < TILE * HEAD; i += ACROSS * DOWN) {
        int local = i / HEAD, c = i % HEAD;
        float x = 0.0f;
        if (first + local < rows) {
            x = load(from + (row + first + local) * stride + column + c);
            if (bias) x += bias[column + c];
        }
        tile[local][c] = x;
    }
}

// The thread's part of a·bᵀ.
__device__ inline void dot_rows(float out[TILE_ROWS][TILE_COLUMNS], HeadTile a, HeadTile b) {
    int x = threadIdx.x % ACROSS, y = threadIdx.x / ACROSS;
    for (int i = 0; i < TILE_ROWS; i++)
        for (int j = 0; j < TILE_COLUMNS; j++) out[i][j] = 0.0f;
#pragma unroll 8
    for (int c = 0; c < HEAD; c++) {
        float left[TILE_ROWS], right[TILE_COLUMNS];
        for (int i = 0; i < TILE_ROWS; i++) left[i] = a[y + DOWN * i][c];
        for (int j = 0; j < TILE_COLUMNS; j++) right[j] = b[x + ACROSS * j][c];
        for (int i = 0; i < TILE_ROWS; i++)
            for (int j = 0; j < TILE_COLUMNS; j++) out[i][j] += left[i] * right[j];
    }
}

// Adds the thread's part of s·b, or of sᵀ·b.
template <bool TRANSPOSED>
__device__ inline void add_product(float out[TILE_ROWS][HEAD_COLUMNS], Square s, HeadTile b) {
    int x = threadIdx.x % ACROSS, y = threadIdx.x / ACROSS;
#pragma unroll 4
    for (int k = 0; k < TILE; k++) {
        float left[TILE_ROWS], right[HEAD_COLUMNS];
        for (int i = 0; i < TILE_ROWS; i++) left[i] = TRANSPOSED ? s[k][y + DOWN * i] : s[y + DOWN * i][k];
        for (int j = 0; j < HEAD_COLUMNS; j++) right[j] = x + ACROSS * j < HEAD ? b[k][x + ACROSS * j] : 0.0f;
        for (int i = 0; i < TILE_ROWS; i++)
            for (int j = 0; j < HEAD_COLUMNS; j++) out[i][j] += left[i] * right[j];
    }
}

// Writes the thread's part of rows first..first + TILE of one head, as far as there are rows.
__device__ inline void store_tile(Operand *to, float tile[TILE_ROWS][HEAD_COLUMNS], u64 row, int stride, int column,
                                  int first, int rows) {
    int x = threadIdx.x % ACROSS, y = threadIdx.x / ACROSS;
    for (int i = 0; i < TILE_ROWS; i++) {
        int local = first + y + DOWN * i;
        for (int j = 0; j < HEAD_COLUMNS; j++) {
            int c = x + ACROSS * j;
            if (local < rows && c < HEAD) store(to + (row + local) * stride + column + c, tile[i][j]);
        }
    }
}

extern "C" __global__ void attention_forward(Attention a) {
    __shared__ HeadTile q, k, v;
    __shared__ Square p;
    Place at = place(a);
    int first = blockIdx.z * TILE, x = threadIdx.x % ACROSS, y = threadIdx.x / ACROSS, width = a.heads * HEAD;
    if (first >= at.asking) return;
    load_tile(q, a.queries, a.query_bias, at.first_query, a.query_stride, at.column, first, at.asking);
    float out[TILE_ROWS][HEAD_COLUMNS] = {}, largest[TILE_ROWS], total[TILE_ROWS];
    for (int i = 0; i < TILE_ROWS; i++) {
        largest[i] = MINUS_INFINITY;
        total[i] = 0.0f;
    }
    for (int begin = 0; begin < at.keys; begin += TILE) {
        __syncthreads();
        load_tile(k, a.keys, a.key_bias, at.first, a.key_stride, at.column, begin, at.keys);
        load_tile(v, a.values, a.value_bias, at.first, a.key_stride, at.column, begin, at.keys);
        __syncthreads();
        float s[TILE_ROWS][TILE_COLUMNS];
        dot_rows(s, q, k);
        for (int i = 0; i < TILE_ROWS; i++) {
            float most = MINUS_INFINITY;
            for (int j = 0; j < TILE_COLUMNS; j++) {
                s[i][j] = begin + x + ACROSS * j < at.keys ? s[i][j] * (a.scale * LOG2E) : MINUS_INFINITY;
                most = fmaxf(most, s[i][j]);
            }
            most = fmaxf(largest[i], lanes_max(most, ACROSS));
            float keep = exp2f(largest[i] - most), sum = 0.0f;
            for (int j = 0; j < TILE_COLUMNS; j++) {
                u32 query = first + y + DOWN * i, key = begin + x + ACROSS * j;
                float e = exp2f(s[i][j] - most);
                sum += e;
                p[y + DOWN * i][x + ACROSS * j] = e * factor(at.dropout, query * at.keys + key);
            }
            total[i] = total[i] * keep + lanes_sum(sum, ACROSS);
            largest[i] = most;
            for (int j = 0; j < HEAD_COLUMNS; j++) out[i][j] *= keep;
        }
        __syncthreads();
        add_product<false>(out, p, v);
    }
    for (int i = 0; i < TILE_ROWS; i++) {
        int local = first + y + DOWN * i;
        for (int j = 0; j < HEAD_COLUMNS; j++) out[i][j] /= total[i];
        if (x == 0 && local < at.asking)
            a.logsums[(at.first_query + local) * a.heads + blockIdx.y] = largest[i] + log2f(total[i]);
    }
    store_tile(a.context, out, at.first_query, width, at.column, first, at.asking);
}

// P ∘ m and dS of a tile of queries against a tile of keys.
__device__ inline void gradients_of_scores(const Attention &a, const Place &at, HeadTile q, HeadTile k, HeadTile v,
                                           HeadTile d, const float *logsums, const float *deltas, int first_query,
                                           int first_key, Square masked, Square ds) {
    int x = threadIdx.x % ACROSS, y = threadIdx.x / ACROSS;
    float s[TILE_ROWS][TILE_COLUMNS], dp[TILE_ROWS][TILE_COLUMNS];
    dot_rows(s, q, k);
    dot_rows(dp, d, v);
    for (int i = 0; i < TILE_ROWS; i++)
        for (int j = 0; j < TILE_COLUMNS; j++) {
            int row = y + DOWN * i, column = x + ACROSS * j;
            u32 query = first_query + row, key = first_key + column;
            bool there = query < (u32)at.asking && key < (u32)at.keys;
            float p = there ? exp2f(s[i][j] * (a.scale * LOG2E) - logsums[row]) : 0.0f;
            float m = factor(at.dropout, query * at.keys + key);
            masked[row][column] = p * m;
            ds[row][column] = p * (dp[i][j] * m - deltas[row]) * a.scale;
        }
}

// dQ of a tile of queries.
extern "C" __global__ void attention_queries(Attention a) {
    __shared__ HeadTile q, k, v, d;
    __shared__ Square masked, ds;
    __shared__ float logsums[TILE], deltas[TILE];
    Place at = place(a);
    int first = blockIdx.z * TILE;
    if (first >= at.asking) return;
    load_tile(q, a.queries, a.query_bias, at.first_query, a.query_stride, at.column, first, at.asking);
    load_tile(d, a.dcontext, 0, at.first_query, a.heads * HEAD, at.column, first, at.asking);
    int x = threadIdx.x % ACROSS, y = threadIdx.x / ACROSS;
    for (int local = y; local < TILE; local += DOWN) {
        float sum = delta(a, at, first + local, x, ACROSS);
        if (x == 0) {
            deltas[local] = sum;
            logsums[local] = of_query(a.logsums, a, at, first + local);
        }
    }
    float dq[TILE_ROWS][HEAD_COLUMNS] = {};
    for (int begin = 0; begin < at.keys; begin += TILE) {
        __syncthreads();
        load_tile(k, a.keys, a.key_bias, at.first, a.key_stride, at.column, begin, at.keys);
        load_tile(v, a.values, a.value_bias, at.first, a.key_stride, at.column, begin, at.keys);
        __syncthreads();
        gradients_of_scores(a, at, q, k, v, d, logsums, deltas, first, begin, masked, ds);
        __syncthreads();
        add_product<false>(dq, ds, k);
    }
    store_tile(a.dqueries, dq, at.first_query, a.query_stride, at.column, first, at.asking);
}

// dK and dV of a tile of keys.
extern "C" __global__ void attention_keys(Attention a) {
    __shared__ HeadTile q, k, v, d;
    __shared__ Square masked, ds;
    __shared__ float logsums[TILE], deltas[TILE];
    Place at = place(a);
    int first = blockIdx.z * TILE;
    if (first >= at.keys) return;
    load_tile(k, a.keys, a.key_bias, at.first, a.key_stride, at.column, first, at.keys);
    load_tile(v, a.values, a.value_bias, at.first, a.key_stride, at.column, first, at.keys);
    float dk[TILE_ROWS][HEAD_COLUMNS] = {}, dv[TILE_ROWS][HEAD_COLUMNS] = {};
    for (int begin = 0; begin < at.asking; begin += TILE) {
        __syncthreads();
        load_tile(q, a.queries, a.query_bias, at.first_query, a.query_stride, at.column, begin, at.asking);
        load_tile(d, a.dcontext, 0, at.first_query, a.heads * HEAD, at.column, begin, at.asking);
        if (threadIdx.x < TILE) {
            logsums[threadIdx.x] = of_query(a.logsums, a, at, begin + threadIdx.x);
            deltas[threadIdx.x] = of_query(a.deltas, a, at, begin + threadIdx.x);
        }
        __syncthreads();
        gradients_of_scores(a, at, q, k, v, d, logsums, deltas, begin, first, masked, ds);
        __syncthreads();
        add_product<true>(dv, masked, d);
        add_product<true>(dk, ds, q);
    }
    store_tile(a.dkeys, dk, at.first, a.key_stride, at.column, first, at.keys);
    store_tile(a.dvalues, dv, at.first, a.key_stride, at.column, first, at.keys);
}

#endif
