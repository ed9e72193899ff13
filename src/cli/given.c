/* What a command line says of a model: sizes of dims, and inputs that are constants. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/npy.h"
#include "base/strbuf.h"
#include "cli/cli_priv.h"
#include "compiler/import/import.h"

const char *given_lines(struct cli *cli, const struct text_list *list)
{
    struct strbuf lines;
    strbuf_init(&lines, cli->arena);
    for (uint32_t i = 0; i < list->texts.count; i++)
        strbuf_printf(&lines, "%s%s", i > 0 ? "\n" : "", list->texts.items[i]);
    return list->texts.count > 0 ? lines.data : NULL;
}

static bool read_file(struct cli *cli, const char *path, struct import_tensor *out,
                      struct error *err)
{
    char *bytes;
    size_t size;
    struct npy npy;
    if (!file_read(path, (size_t)LIMIT_TENSOR_BYTES, &bytes, &size, err))
        return false;
    bool ok = npy_parse(bytes, size, cli->arena, &npy, err);
    free(bytes);
    if (!ok)
        return fail_at(err, "%s", path);
    *out = (struct import_tensor){.dtype = dtype_from_npy(npy.descr),
                                  .rank = npy.rank,
                                  .data = npy.data,
                                  .bytes = npy.data_bytes};
    memcpy(out->shape, npy.shape, sizeof out->shape);
    return true;
}

static bool read_known(struct cli *cli, const char *text, struct import_tensor *out,
                       struct error *err)
{
    const char *equals = strrchr(text, '=');
    size_t length = equals ? strlen(equals + 1) : 0;
    if (length == 0 || equals == text)
        return fail(err, ERR_USAGE, "'%s', expected NAME=NUMBERS or NAME=FILE.npy", text);
    if (length > 4 && strcmp(equals + 1 + length - 4, ".npy") == 0) {
        if (!read_file(cli, equals + 1, out, err))
            return false;
    } else {
        *out = (struct import_tensor){.numbers = equals + 1};
    }
    out->name = arena_strndup(cli->arena, text, (size_t)(equals - text));
    return true;
}

bool given_known(struct cli *cli, const struct given *given, const struct import_tensor **out,
                 uint32_t *out_count, struct error *err)
{
    uint32_t count = given->known.texts.count;
    struct import_tensor *tensors = ARENA_ARRAY(cli->arena, struct import_tensor, count);
    for (uint32_t i = 0; i < count; i++) {
        if (!read_known(cli, given->known.texts.items[i], &tensors[i], err))
            return false;
        for (uint32_t k = 0; k < i; k++)
            if (strcmp(tensors[k].name, tensors[i].name) == 0)
                return fail(err, ERR_USAGE, "the input '%s' is given twice", tensors[i].name);
    }
    *out = tensors;
    *out_count = count;
    return true;
}

bool given_read(struct cli *cli, const struct given *given, struct import_options *out,
                struct error *err)
{
    const char *text = given_lines(cli, &given->dims);
    struct dim_name *dims = NULL;
    if (!import_dims_parse(text ? text : "", cli->arena, &dims, &out->dim_count, err) ||
        !given_known(cli, given, &out->fixed, &out->fixed_count, err))
        return false;
    out->dims = dims;
    return true;
}
