
#define KERNEL(argument, name) {#name, emulator::call<argument, name>, sizeof(argument)}

static const emulator::Entry ENTRIES[] = {
    KERNEL(NormForward, norm_forward),
    KERNEL(EmbedForward, embed_forward),
    KERNEL(NormBackward, norm_backward),
    KERNEL(Gelu, gelu_forward),
    KERNEL(Gelu, gelu_backward),
    KERNEL(ColumnSums, column_sums),
    KERNEL(AddPartials, add_partials),
    KERNEL(Rows, gather_rows),
    KERNEL(Rows, add_rows),
    KERNEL(Scatter, sum_pieces),
    KERNEL(Scatter, add_pieces),
    KERNEL(Narrow, narrow),
    KERNEL(Attention, attention_forward),
    KERNEL(Attention, attention_keys),
    KERNEL(Attention, attention_queries),
    KERNEL(Elements, add_bias),
    KERNEL(Elements, tanh_forward),
    KERNEL(Elements, relu_forward),
    KERNEL(Elements, tanh_backward),
    KERNEL(Elements, relu_backward),
    KERNEL(Elements, mask_elements),
    KERNEL(Choices, cross_entropy),
    KERNEL(Values, binary_cross_entropy),
    KERNEL(Values, squared_error),
    KERNEL(Total, total),
    KERNEL(Squares, squares),
    KERNEL(AdamW, adamw),
};

// Runs a kernel by its name; false if there is none, or its argument has another size.
extern "C" bool emulator_launch(const char *name, const unsigned *blocks, unsigned threads, const void *argument,
                                size_t size, bool descending) {
    for (const emulator::Entry &entry : ENTRIES) {
        if (strcmp(entry.name, name)) continue;
        if (entry.size != size) return false;
        emulator::body = entry.call;
        emulator::argument = argument;
        emulator::kernel = entry.name;
        gridDim = dim3{blocks[0], blocks[1], blocks[2]};
        blockDim = dim3{threads, 1, 1};
        for (blockIdx.z = 0; blockIdx.z < blocks[2]; blockIdx.z++)
            for (blockIdx.y = 0; blockIdx.y < blocks[1]; blockIdx.y++)
                for (blockIdx.x = 0; blockIdx.x < blocks[0]; blockIdx.x++) emulator::run_block(descending);
        return true;
    }
    return false;
}
