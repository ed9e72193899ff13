/* Whole blocks of networks: the examples, and those in bench/blocks. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "bench.h"

static const char *const blocks[] = {
    "examples/mlp",
    "examples/resnet_bottleneck",
    "examples/mobilenet_inverted_residual",
    "examples/custom_graph",
    "examples/transformer_block",
    "examples/gated_mlp_rmsnorm",
    "examples/conv_arch",
    "examples/attention_arch",
    "bench/blocks/vit_block",
    "bench/blocks/llama_block",
    "bench/blocks/convnext_block",
    "bench/blocks/mbconv_squeeze_excite",
    "bench/blocks/unet_double_conv",
};

/* A file that cannot be read is an empty blueprint: its row of the table says so. */
static const char *read_blueprint(struct arena *arena, const char *stem)
{
    char path[128], *text;
    size_t size;
    struct error err = {0};
    snprintf(path, sizeof path, "%s.json", stem);
    if (!file_read(path, LIMIT_JSON_BYTES, &text, &size, &err))
        return "";
    const char *copy = arena_strndup(arena, text, size);
    free(text);
    return copy;
}

static void add_block(struct case_list *list, const char *stem, int batch)
{
    char dims[32];
    const char *name = stem;
    for (const char *at = stem; *at; at++)
        if (*at == '/')
            name = at + 1;
    snprintf(dims, sizeof dims, "B=%d", batch);
    struct bench_case *one = case_add(list, CASE_GRAPH, dims, "%s b%d", name, batch);
    one->blueprint = read_blueprint(list->arena, stem);
}

void cases_blocks(struct case_list *list, const char *variant)
{
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) {
        if (!variant || strcmp(variant, "b1") == 0)
            add_block(list, blocks[i], 1);
        if (!variant || strcmp(variant, "b32") == 0)
            add_block(list, blocks[i], 32);
    }
}
