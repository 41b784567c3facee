// The heads, whose rows are few: pooler and classifier. They are compiled for float operands alone.

struct Elements {
    float *x;          // changed in place
    const float *with; // see each kernel
    u64 count;
    u64 width;
    Dropout dropout;
};

// x += bias, for rows of `width`.
extern "C" __global__ void add_bias(Elements a) {
    u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < a.count) a.x[i] += a.with[i % a.width];
}

// x = tanh(x + bias)
extern "C" __global__ void tanh_forward(Elements a) {
    u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < a.count) a.x[i] = tanhf(a.x[i] + a.with[i % a.width]);
}

// x = max(x + bias, 0)
extern "C" __global__ void relu_forward(Elements a) {
    u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < a.count) a.x[i] = fmaxf(a.x[i] + a.with[i % a.width], 0.0f);
}

// x, the gradient of the result `with`, becomes that of tanh's argument.
extern "C" __global__ void tanh_backward(Elements a) {
    u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < a.count) a.x[i] *= 1.0f - a.with[i] * a.with[i];
}

extern "C" __global__ void relu_backward(Elements a) {
    u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < a.count && !(a.with[i] > 0.0f)) a.x[i] = 0.0f;
}

// x = m·with; with may be x itself.
extern "C" __global__ void mask_elements(Elements a) {
    u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < a.count) a.x[i] = a.with[i] * factor(a.dropout, (u32)i);
}
