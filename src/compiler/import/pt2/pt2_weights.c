/* Weights: raw files of an archive, and the documents that give each tensor's file; in archives of
 * PyTorch before 2.9, files of torch.save.
 *
 * A file has one storage; a tensor is a view of it by offset and strides, in elements. The result
 * is dense and row-major. */
#include <string.h>

#include "base/checked.h"
#include "base/strbuf.h"
#include "compiler/import/pt2/pt2_priv.h"

#define WEIGHT_CONFIG "data/weights/model_weights_config.json"
#define CONSTANT_CONFIG "data/constants/model_constants_config.json"

#define MAX_REPEATS 4
#define SPARE_BYTES ((size_t)1 << 20)

/* Where pickled weights and constants are: a path in PyTorch 2.6, a folder in later versions. */
static const char *const pickle_places[2][2] = {{"serialized_state_dict.pt", "data/weights/"},
                                                {"serialized_constants.pt", "data/constants/"}};

static bool open_config(struct pt2 *p, const char *path, json_t **out, struct error *err)
{
    const struct pt2_file *file = pt2_archive_find(&p->archive, path);
    if (!file)
        return true;
    *out = json_read((const char *)file->data, file->size, err);
    return *out || fail_at(err, "%s", path);
}

/* The file with the given path, or one in the folder whose name ends in .pt. */
static const struct pt2_file *find_pickle(const struct pt2 *p, const char *path, const char *folder)
{
    const struct pt2_file *file = pt2_archive_find(&p->archive, path);
    for (uint32_t i = 0; i < p->archive.files.count && !file; i++) {
        const char *name = p->archive.files.items[i].name, *at = strstr(name, folder);
        size_t size = strlen(name);
        if (at && size > 3 && strcmp(name + size - 3, ".pt") == 0)
            file = &p->archive.files.items[i];
    }
    return file;
}

bool pt2_weights_open(struct pt2 *p, struct error *err)
{
    for (int i = 0; i < 2; i++) {
        const struct pt2_file *file = find_pickle(p, pickle_places[i][0], pickle_places[i][1]);
        if (file && file->size > 0 && !pt2_state_dict(p, file, &p->pickled[i], err))
            return false;
    }
    return open_config(p, WEIGHT_CONFIG, &p->weights, err) &&
           open_config(p, CONSTANT_CONFIG, &p->constants, err);
}

static bool read_int(const json_t *json, int64_t *out, struct error *err)
{
    const json_t *number = json_object_get(json, "as_int");
    if (!json_is_integer(number) || json_integer_value(number) < 0 ||
        json_integer_value(number) > LIMIT_DIM_VALUE)
        return fail(err, ERR_PARSE, "its sizes and strides are not all integers ≥ 0");
    *out = json_integer_value(number);
    return true;
}

static bool read_view(struct pt2 *p, const json_t *meta, struct pt2_view *out, struct error *err)
{
    struct pt2_type type;
    const json_t *sizes = json_object_get(meta, "sizes");
    const json_t *strides = json_object_get(meta, "strides");
    *out = (struct pt2_view){.dtype = DTYPE_NONE};
    if (!pt2_tensor_type(p, meta, false, &type, err))
        return false;
    out->dtype = type.dtype;
    out->rank = type.rank;
    if (json_array_size(strides) != out->rank)
        return fail(err, ERR_PARSE, "it has %zu strides", json_array_size(strides));
    if (!read_int(json_object_get(meta, "storage_offset"), &out->offset, err))
        return false;
    for (uint32_t i = 0; i < out->rank; i++) {
        if (!read_int(json_array_get(sizes, i), &out->sizes[i], err) ||
            !read_int(json_array_get(strides, i), &out->strides[i], err))
            return false;
    }
    return true;
}

/* Counts the elements of the view, and checks that all of them are in a file of `bytes`. */
static bool check_view(const struct pt2_view *view, size_t bytes, int64_t *out_count,
                       struct error *err)
{
    int64_t last = view->offset, count = 1, reach;
    for (uint32_t i = 0; i < view->rank; i++)
        if (!checked_mul_i64(count, view->sizes[i], &count) || count > LIMIT_TENSOR_BYTES)
            return fail(err, ERR_LIMIT, "it is too large");
    *out_count = count;
    if (count == 0)
        return true;
    for (uint32_t i = 0; i < view->rank; i++)
        if (!checked_mul_i64(view->sizes[i] - 1, view->strides[i], &reach) ||
            !checked_add_i64(last, reach, &last))
            return fail(err, ERR_LIMIT, "it is too large");
    if ((uint64_t)last >= bytes / dtype_bytes(view->dtype))
        return fail(err, ERR_SHAPE, "its file holds %zu bytes, which is too few", bytes);
    return true;
}

static void copy_view(const struct pt2_view *view, const uint8_t *from, int64_t count, uint8_t *to)
{
    int64_t index[LIMIT_RANK] = {0}, at = view->offset, dense = 1;
    size_t item = dtype_bytes(view->dtype);
    bool is_dense = true;
    for (uint32_t i = view->rank; i-- > 0; dense *= view->sizes[i])
        is_dense = is_dense && (view->strides[i] == dense || view->sizes[i] == 1);
    if (is_dense && count > 0) {
        memcpy(to, from + (size_t)at * item, (size_t)count * item);
        return;
    }
    for (int64_t n = 0; n < count; n++, to += item) {
        memcpy(to, from + (size_t)at * item, item);
        for (uint32_t i = view->rank; i-- > 0;) {
            at += view->strides[i];
            if (++index[i] < view->sizes[i])
                break;
            at -= view->strides[i] * view->sizes[i];
            index[i] = 0;
        }
    }
}

/* Many tensors may use the same file, and strides of 0 repeat elements. So the total size is
 * limited in proportion to the archive's. */
static bool count_bytes(struct pt2 *p, size_t bytes, struct error *err)
{
    size_t most = SPARE_BYTES;
    for (uint32_t i = 0; i < p->archive.files.count; i++)
        most += MAX_REPEATS * p->archive.files.items[i].size;
    if (!checked_add_size(p->weight_bytes, bytes, &p->weight_bytes) || p->weight_bytes > most)
        return fail(err, ERR_LIMIT, "the weights are larger than %zu bytes", most);
    return true;
}

/* Copies the elements of a view to a dense tensor. */
static bool copy_tensor(struct pt2 *p, const struct pt2_view *view, const struct pt2_file *file,
                        struct import_tensor *out, struct error *err)
{
    struct import_tensor tensor = {.name = out->name, .dtype = view->dtype, .rank = view->rank};
    int64_t count = 0;
    if (!check_view(view, file->size, &count, err))
        return false;
    memcpy(tensor.shape, view->sizes, sizeof tensor.shape);
    tensor.bytes = (size_t)count * dtype_bytes(view->dtype);
    if (!count_bytes(p, tensor.bytes, err))
        return false;
    uint8_t *data = arena_alloc(p->arena, tensor.bytes, 64);
    copy_view(view, file->data, count, data);
    for (int64_t i = 0; tensor.dtype == DTYPE_BOOL && i < count; i++)
        data[i] = data[i] != 0;
    tensor.data = data;
    *out = tensor;
    return true;
}

static bool raw_tensor(struct pt2 *p, const json_t *entry, const char *folder,
                       struct import_tensor *out, struct error *err)
{
    const char *path = json_string_value(json_object_get(entry, "path_name"));
    struct strbuf *full = ARENA_NEW(p->arena, struct strbuf);
    struct pt2_view view;
    if (!path || strlen(path) > LIMIT_NAME)
        return fail(err, ERR_PARSE, "its file is not named");
    if (json_is_true(json_object_get(entry, "use_pickle")))
        return fail(err, ERR_UNSUPPORTED, "it is pickled");
    strbuf_init(full, p->arena);
    strbuf_printf(full, "%s/%s", folder, path);
    const struct pt2_file *file = pt2_archive_find(&p->archive, full->data);
    if (!file)
        return fail(err, ERR_PARSE, "its file '%.80s' is not in the archive", full->data);
    return read_view(p, json_object_get(entry, "tensor_meta"), &view, err) &&
           copy_tensor(p, &view, file, out, err);
}

static const struct pt2_pickled *find_pickled(const struct pt2 *p, const char *name)
{
    for (int i = 0; i < 2; i++)
        for (uint32_t k = 0; k < p->pickled[i].count; k++)
            if (strcmp(p->pickled[i].tensors[k].name, name) == 0)
                return &p->pickled[i].tensors[k];
    return NULL;
}

bool pt2_weight(struct pt2 *p, const char *name, struct import_tensor *out, struct error *err)
{
    const json_t *weight = json_object_get(json_object_get(p->weights, "config"), name);
    const json_t *constant = json_object_get(json_object_get(p->constants, "config"), name);
    const struct pt2_pickled *pickled = find_pickled(p, name);
    out->name = name;
    if (weight)
        return raw_tensor(p, weight, "data/weights", out, err);
    if (constant)
        return raw_tensor(p, constant, "data/constants", out, err);
    return pickled ? copy_tensor(p, &pickled->view, pickled->file, out, err)
                   : fail(err, ERR_PARSE, "the archive has no such weight");
}

/* The document's entry of the weight that a param is. */
static const json_t *stored_param(const struct pt2 *p, uint32_t param)
{
    return json_object_get(json_object_get(p->weights, "config"), p->param_data.items[param]->name);
}

static bool is_same_pickled(const struct pt2_pickled *a, const struct pt2_pickled *b)
{
    bool same = a->file == b->file && a->view.dtype == b->view.dtype &&
                a->view.rank == b->view.rank && a->view.offset == b->view.offset;
    for (uint32_t i = 0; i < a->view.rank && same; i++)
        same = a->view.sizes[i] == b->view.sizes[i] && a->view.strides[i] == b->view.strides[i];
    return same;
}

/* Adds the name of a weight that is stored as a param is, if no param has that name. entry: of the
 * document; or pickled. */
static void add_alias(struct pt2 *p, struct import_alias *aliases, uint32_t *count,
                      const char *name, const json_t *entry, const struct pt2_pickled *pickled)
{
    const char *of = NULL;
    for (uint32_t i = 0; i < p->param_data.count; i++)
        if (strcmp(p->param_data.items[i]->name, name) == 0)
            return;
    for (uint32_t i = 0; i < p->param_data.count && !of; i++) {
        const char *param = p->param_data.items[i]->name;
        const struct pt2_pickled *other = pickled ? find_pickled(p, param) : NULL;
        if (!p->frozen.items[i] && (entry ? json_equal(entry, stored_param(p, i)) != 0
                                          : other != NULL && is_same_pickled(pickled, other)))
            of = graph_node(p->graph, p->graph->params.items[i])->attrs->name;
    }
    if (of)
        aliases[(*count)++] = (struct import_alias){arena_strdup(p->arena, name), of};
}

void pt2_aliases(struct pt2 *p, struct blueprint *out)
{
    const json_t *config = json_object_get(p->weights, "config"), *entry;
    const struct pt2_state *state = &p->pickled[0];
    struct import_alias *aliases =
        ARENA_ARRAY(p->arena, struct import_alias, json_object_size(config) + state->count + 1);
    const char *name;
    out->alias_count = 0;
    json_object_foreach((json_t *)(uintptr_t)config, name, entry)
    {
        add_alias(p, aliases, &out->alias_count, name, entry, NULL);
    }
    for (uint32_t i = 0; i < state->count; i++)
        add_alias(p, aliases, &out->alias_count, state->tensors[i].name, NULL, &state->tensors[i]);
    out->aliases = aliases;
}
