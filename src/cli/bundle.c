/* Packages as commands use them: read, trusted, loaded by the public runtime, fed with tensors. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/rng.h"
#include "base/strbuf.h"
#include "cli/cli_priv.h"
#include "compiler/import/import.h"

#define ALIGNMENT 64
#define HEAD_BYTES 16

size_t bundle_limit(const void *head, size_t size)
{
    return onnx_looks_like(head, size) || pt2_looks_like(head, size) ? LIMIT_MODEL_BYTES
                                                                     : LIMIT_JSON_BYTES;
}

const char *bundle_folder(struct cli *cli, const char *path)
{
    const char *slash = strrchr(path, '/');
    if (strcmp(path, "-") == 0)
        return NULL;
    if (!slash)
        return ".";
    return slash == path ? "/" : arena_strndup(cli->arena, path, (size_t)(slash - path));
}

const char *bundle_keys(struct cli *cli)
{
    struct strbuf path;
    strbuf_init(&path, cli->arena);
    strbuf_printf(&path, "%s/keys", cli->home ? cli->home : "");
    return cli->home ? path.data : NULL;
}

bool bundle_read(struct cli *cli, const char *path, const void **out_bytes, size_t *out_size,
                 struct error *err)
{
    char *data, head[HEAD_BYTES];
    size_t size;
    if (!file_peek(path, head, sizeof head, &size, err) ||
        !file_read(path, bundle_limit(head, size), &data, &size, err))
        return false;
    void *bytes = arena_alloc(cli->arena, size, ALIGNMENT);
    memcpy(bytes, data, size);
    free(data);
    *out_bytes = bytes;
    *out_size = size;
    return true;
}

bool bundle_trusted(struct cli *cli, const struct text_list *keys, struct trusted_keys *out,
                    struct error *err)
{
    struct trusted_keys local = {.count = 0};
    if (cli->home && !keys_trusted(cli->home, cli->arena, &local, err))
        return false;
    uint8_t(*all)[32] = arena_array(cli->arena, local.count + keys->texts.count, sizeof *all);
    if (local.count > 0)
        memcpy(all, local.keys, local.count * sizeof *all);
    for (uint32_t i = 0; i < keys->texts.count; i++) {
        const char *text = keys->texts.items[i];
        if (strlen(text) != 64 || !hex_decode(text, all[local.count + i], 32))
            return fail(err, ERR_USAGE, "'%s' is no public key of 64 lower-case hex digits", text);
    }
    *out = (struct trusted_keys){.keys = (const uint8_t(*)[32])all,
                                 .count = local.count + keys->texts.count};
    return true;
}

bool bundle_fail(const urza_error *from, struct error *err)
{
    bool known = from->code > ERR_NONE && from->code < ERR_COUNT;
    fail(err, known ? (enum error_code)from->code : ERR_BUG, "%s", from->message);
    return from->place[0] == '\0' ? false : fail_at(err, "%s", from->place);
}

bool bundle_open(struct cli *cli, const struct bundle_options *options, struct bundle *out,
                 struct error *err)
{
    struct trusted_keys trusted;
    struct bundle bundle = {.module = NULL};
    if (!bundle_trusted(cli, options->keys, &trusted, err) ||
        !bundle_read(cli, options->path, &bundle.bytes, &bundle.size_bytes, err))
        return false;
    urza_load_options load = {
        .trust = options->allow_unsigned ? URZA_TRUST_ALLOW_UNSIGNED : URZA_TRUST_REQUIRE,
        .trusted_keys = trusted.keys,
        .trusted_key_count = trusted.count,
        .threads = options->threads,
        .target = options->target,
    };
    urza_error problem = {.code = 0};
    if (urza_load_memory(bundle.bytes, bundle.size_bytes, &load, &bundle.module, &problem) != 0) {
        bundle_fail(&problem, err);
        return fail_at(err, "%s", options->path);
    }
    const uint8_t *text;
    size_t size;
    if (!package_entry(bundle.bytes, bundle.size_bytes, "graph", &text, &size, err) ||
        !graph_parse(&bundle.graph, cli->arena, (const char *)text, size, err)) {
        bundle_release(&bundle);
        return false;
    }
    *out = bundle;
    return true;
}

void bundle_release(struct bundle *bundle)
{
    urza_unload(bundle->module);
    bundle->module = NULL;
}

bool tensor_make(struct cli *cli, const struct graph *graph, value_id value, const int64_t *dims,
                 DLDataType dtype, DLTensor *out, struct error *err)
{
    const struct node *node = graph_node(graph, value);
    int64_t *shape = ARENA_ARRAY(cli->arena, int64_t, LIMIT_RANK);
    int64_t bytes = (int64_t)dtype_bytes(node->dtype);
    for (uint32_t axis = 0; axis < node->rank; axis++)
        if (!dim_eval(&graph->dims, node->shape[axis], dims, &shape[axis]) || shape[axis] < 0 ||
            !checked_mul_i64(bytes, shape[axis], &bytes) || bytes > LIMIT_TENSOR_BYTES)
            return fail(err, ERR_LIMIT, "a tensor is larger than %lld bytes at these dims",
                        (long long)LIMIT_TENSOR_BYTES);
    *out = (DLTensor){.data = arena_alloc(cli->arena, (size_t)bytes, ALIGNMENT),
                      .device = {.device_type = kDLCPU},
                      .ndim = (int32_t)node->rank,
                      .dtype = dtype,
                      .shape = shape};
    return true;
}

static void put_random(void *data, enum dtype dtype, int64_t index, double normal, uint32_t integer)
{
    switch (dtype) {
    case DTYPE_F64: ((double *)data)[index] = normal; break;
    case DTYPE_F32: ((float *)data)[index] = (float)normal; break;
    case DTYPE_F16: ((uint16_t *)data)[index] = f16_from_double(normal); break;
    case DTYPE_BF16: ((uint16_t *)data)[index] = bf16_from_double(normal); break;
    case DTYPE_I64: ((int64_t *)data)[index] = (int64_t)integer; break;
    case DTYPE_I32: ((int32_t *)data)[index] = (int32_t)integer; break;
    case DTYPE_I16: ((int16_t *)data)[index] = (int16_t)integer; break;
    case DTYPE_I8: ((int8_t *)data)[index] = (int8_t)integer; break;
    case DTYPE_U8: ((uint8_t *)data)[index] = (uint8_t)integer; break;
    case DTYPE_U16: ((uint16_t *)data)[index] = (uint16_t)integer; break;
    case DTYPE_U32: ((uint32_t *)data)[index] = integer; break;
    case DTYPE_U64: ((uint64_t *)data)[index] = integer; break;
    case DTYPE_BOOL: ((uint8_t *)data)[index] = (uint8_t)(integer & 1); break;
    case DTYPE_NONE:
    case DTYPE_COUNT: break;
    }
}

void tensor_random(const DLTensor *tensor, enum dtype dtype, const char *name, uint64_t seed)
{
    uint64_t key = rng_key(hash64(name, strlen(name), seed));
    int64_t count = 1;
    for (int32_t axis = 0; axis < tensor->ndim; axis++)
        count *= tensor->shape[axis];
    bool is_float = dtype_is_float(dtype);
    for (int64_t i = 0; i < count; i++)
        put_random(tensor->data, dtype, i, is_float ? rng_normal(key, (uint64_t)i) : 0,
                   rng_u32(key, (uint64_t)i) % 100);
}
