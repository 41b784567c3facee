// The losses and their gradients, with their sums in double, as on the CPU: formulas in kernels/loss.rs. Each kernel
// leaves terms, and `total` adds them up.

struct Choices {
    const float *logits;
    float *gradient;
    const int *rights;     // the right class of each choice, or -100: it does not count
    const double *weights; // of the classes; null: all 1
    double *terms;         // one for each choice
    const u32 *starts;     // spans: where sequences begin; null: a choice is a row of logits
    int choices, columns;
    double smoothing, gamma, mass;
};

__device__ inline double double_max(double a, double b) { return b > a ? b : a; }

// Cross-entropy of one choice by a warp: one row's columns, or one column of one sequence's rows.
extern "C" __global__ void cross_entropy(Choices a) {
    int choice = blockIdx.x, lane = threadIdx.x, count = a.columns;
    u64 first = (u64)choice * a.columns, stride = 1;
    if (a.starts) {
        int sequence = choice / 2;
        first = (u64)a.starts[sequence] * 2 + choice % 2;
        count = a.starts[sequence + 1] - a.starts[sequence];
        stride = 2;
    }
    const float *logits = a.logits + first;
    float *gradient = a.gradient + first;
    int right = a.rights[choice];
    if (right < 0 || a.mass == 0.0) {
        for (int i = lane; i < count; i += WARP) gradient[i * stride] = 0.0f;
        if (lane == 0) a.terms[choice] = 0.0;
        return;
    }
    double largest = MINUS_INFINITY, sum = 0.0;
    for (int i = lane; i < count; i += WARP) largest = double_max(largest, logits[i * stride]);
    for (int step = WARP / 2; step > 0; step /= 2)
        largest = double_max(largest, __shfl_xor_sync(0xffffffffu, largest, step));
    for (int i = lane; i < count; i += WARP) sum += exp(logits[i * stride] - largest);
    double denominator = log(lanes_sum(sum, WARP));

    double loss = 0.0, all = 0.0;
    for (int round = 0; round < 2; round++) {
        for (int i = lane; i < count; i += WARP) {
            double log_p = logits[i * stride] - largest - denominator, p = exp(log_p), rest = -expm1(log_p);
            double target = a.smoothing / count + (i == right ? 1.0 - a.smoothing : 0.0);
            double share = target * (a.weights ? a.weights[i] : 1.0) / a.mass;
            double focus = a.gamma == 0.0 ? 1.0 : pow(rest, a.gamma);
            double slope = focus * (a.gamma * p * (rest > 0.0 ? log_p / rest : -1.0) - 1.0);
            if (round == 0) {
                loss -= share * focus * log_p;
                all += share * slope;
            } else {
                gradient[i * stride] = (float)(share * slope - p * all);
            }
        }
        if (round == 0) {
            loss = lanes_sum(loss, WARP);
            all = lanes_sum(all, WARP);
        }
    }
    if (lane == 0) a.terms[choice] = loss;
}

struct Values {
    const float *outputs;
    const float *targets;
    float *gradient;
    double *terms; // one for each output
    u64 count;
    double mass;
};

// Binary cross-entropy of each logit; targets are 0 or 1.
extern "C" __global__ void binary_cross_entropy(Values a) {
    u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= a.count) return;
    double logit = a.outputs[i], target = a.targets[i], rest = exp(-fabs(logit)), large = 1.0 / (1.0 + rest);
    double p = logit >= 0.0 ? large : rest * large;
    a.terms[i] = ((logit >= 0.0 ? logit : logit < 0.0 ? 0.0 : logit) - logit * target + log1p(rest)) / a.mass;
    a.gradient[i] = (float)((p - target) / a.mass);
}

extern "C" __global__ void squared_error(Values a) {
    u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= a.count) return;
    double d = (double)a.outputs[i] - a.targets[i];
    a.terms[i] = d * d / a.mass;
    a.gradient[i] = (float)(2.0 * d / a.mass);
}

struct Total {
    const double *terms;
    double *sum;
    u64 count;
};

// The sum of all terms, by one block, in a fixed order.
extern "C" __global__ void total(Total a) {
    __shared__ double warps[BLOCK / WARP];
    double sum = 0.0;
    for (u64 i = threadIdx.x; i < a.count; i += BLOCK) sum += a.terms[i];
    sum = lanes_sum(sum, WARP);
    if (threadIdx.x % WARP == 0) warps[threadIdx.x / WARP] = sum;
    __syncthreads();
    if (threadIdx.x > 0) return;
    for (int warp = 1; warp < BLOCK / WARP; warp++) sum += warps[warp];
    *a.sum = sum;
}
