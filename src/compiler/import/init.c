/* Values of a parameter from its initialiser, as functions of (seed, name, index): the same on
 * every machine.
 *
 * The generator's key is rng_key of the first eight bytes, little-endian, of SHA-256(seed as eight
 * bytes, little-endian ‖ name); element i is random number i. Ranges are those of torch.nn.init:
 * fan_in is dim 1 times the dims after it, fan_out is dim 0 times the same. Values are computed in
 * float64 and rounded once to the parameter's dtype.
 *
 *   kind             fields (default)        a, b
 *   zeros, ones
 *   constant         value
 *   uniform          low (0), high (1)       low, high
 *   bias_uniform     fan_in                  ∓1/sqrt(fan_in); becomes kind uniform
 *   normal           mean (0), std (1)       mean, std
 *   xavier_*         gain (1)                gain
 *   kaiming_uniform  a (sqrt 5)              a: the negative slope of the leaky ReLU that follows
 *   kaiming_normal   a (0)                   a
 *   file             path                    a .npy file
 *   safetensors      path                    the tensor of the parameter's name in such a file
 *
 * Paths are relative to the blueprint's folder and must stay inside it. */
#include "compiler/import/import_priv.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/npy.h"
#include "base/rng.h"

struct init_row {
    const char *name;
    enum init_kind kind;
    bool random, fans; /* random: uses random numbers; fans: uses fan_in and fan_out, so it needs at
                          least two dims */
    const char *a_name, *b_name;
    double a, b; /* defaults; NaN: required */
};

static const struct init_row rows[] = {
    {"zeros", INIT_ZEROS, false, false, NULL, NULL, 0, 0},
    {"ones", INIT_ONES, false, false, NULL, NULL, 0, 0},
    {"constant", INIT_CONSTANT, false, false, "value", NULL, (double)NAN, 0},
    {"uniform", INIT_UNIFORM, true, false, "low", "high", 0, 1},
    {"bias_uniform", INIT_UNIFORM, true, false, "fan_in", NULL, (double)NAN, 0},
    {"normal", INIT_NORMAL, true, false, "mean", "std", 0, 1},
    {"xavier_uniform", INIT_XAVIER_UNIFORM, true, true, "gain", NULL, 1, 0},
    {"xavier_normal", INIT_XAVIER_NORMAL, true, true, "gain", NULL, 1, 0},
    {"kaiming_uniform", INIT_KAIMING_UNIFORM, true, true, "a", NULL, 2.2360679774997896964, 0},
    {"kaiming_normal", INIT_KAIMING_NORMAL, true, true, "a", NULL, 0, 0},
    {"file", INIT_FILE, false, false, NULL, NULL, 0, 0},
    {"safetensors", INIT_SAFETENSORS, false, false, NULL, NULL, 0, 0},
};

static const struct init_row *find_row(const char *kind)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(rows[i].name, kind) == 0)
            return &rows[i];
    return NULL;
}

static bool read_number(const json_t *init, const char *name, double initial, double *out,
                        struct error *err)
{
    double value = initial;
    if (!name)
        return true;
    if (!json_opt_double(init, name, &value, err))
        return false;
    if (isnan(value))
        return fail(err, ERR_JSON, "field '%s' is missing", name);
    *out = value;
    return true;
}

bool import_check_path(const char *path, struct error *err)
{
    bool below = path[0] != '\0' && path[0] != '/';
    for (const char *part = path; below && part; part = strchr(part, '/')) {
        part += *part == '/';
        below = strncmp(part, "..", 2) != 0 || (part[2] != '/' && part[2] != '\0');
    }
    if (!below)
        return fail(err, ERR_BLUEPRINT, "path '%.200s' does not lie below the blueprint's folder",
                    path);
    return true;
}

static bool check_value(const struct init_row *row, enum dtype dtype, const struct param_init *init,
                        struct error *err)
{
    if (dtype_is_float(dtype)) {
        if (row->kind == INIT_UNIFORM && init->b < init->a)
            return fail(err, ERR_BLUEPRINT, "the range %g … %g is empty", init->a, init->b);
        if (row->kind == INIT_NORMAL && init->b < 0)
            return fail(err, ERR_BLUEPRINT, "the deviation %g is negative", init->b);
        return true;
    }
    if (row->random)
        return fail(err, ERR_BLUEPRINT, "kind '%s' is for floats, the dtype is %s", row->name,
                    dtype_name(dtype));
    bool whole = fabs(init->a) < 0x1p53 && trunc(init->a) == init->a &&
                 (init->a >= 0 || !dtype_is_unsigned(dtype));
    if (!whole || dtype_wrap(dtype, (int64_t)init->a) != (int64_t)init->a)
        return fail(err, ERR_BLUEPRINT, "%g is not a value of dtype %s", init->a,
                    dtype_name(dtype));
    return true;
}

static bool reads_file(enum init_kind kind)
{
    return kind == INIT_FILE || kind == INIT_SAFETENSORS;
}

bool init_read(const json_t *init, enum dtype dtype, uint32_t rank, struct arena *arena,
               struct param_init *out, struct error *err)
{
    const char *kind = NULL, *path = NULL;
    if (!json_get_string(init, "kind", &kind, err))
        return false;
    const struct init_row *row = find_row(kind);
    if (!row)
        return fail(err, ERR_BLUEPRINT, "unknown kind '%.64s' of initialiser", kind);
    const char *allowed[6] = {"kind"};
    uint32_t count = 1;
    const char *names[4] = {row->a_name, row->b_name, row->random ? "seed" : NULL,
                            reads_file(row->kind) ? "path" : NULL};
    for (uint32_t i = 0; i < 4; i++)
        if (names[i])
            allowed[count++] = names[i];
    struct param_init read = {.kind = (uint8_t)row->kind};
    int64_t seed = 0;
    if (!json_only_keys(init, allowed, err) || !json_opt_int(init, "seed", &seed, err) ||
        !read_number(init, row->a_name, row->a, &read.a, err) ||
        !read_number(init, row->b_name, row->b, &read.b, err))
        return false;
    read.seed = (uint64_t)seed;
    if (reads_file(row->kind)) {
        if (!json_get_string(init, "path", &path, err) || !import_check_path(path, err))
            return false;
        read.path = arena_strdup(arena, path);
    }
    if (row->fans && rank < 2)
        return fail(err, ERR_SHAPE, "kind '%s' needs at least 2 dims, found %u", kind, rank);
    if (strcmp(row->name, "bias_uniform") == 0) {
        if (!(read.a >= 0))
            return fail(err, ERR_BLUEPRINT, "fan_in is %g, expected 0 or more", read.a);
        read.b = read.a > 0 ? 1 / sqrt(read.a) : 0;
        read.a = -read.b;
    }
    if (!check_value(row, dtype, &read, err))
        return false;
    *out = read;
    return true;
}

/* A parameter's constant shape. */
struct extent {
    const char *name; /* name of the parameter */
    enum dtype dtype;
    uint32_t rank;
    int64_t shape[LIMIT_RANK];
    int64_t count;
    size_t bytes;
};

static bool measure(const struct blueprint *blueprint, const struct node *node, struct extent *out,
                    struct error *err)
{
    *out = (struct extent){.name = node->attrs->name,
                           .dtype = (enum dtype)node->dtype,
                           .rank = node->rank,
                           .count = 1};
    for (uint32_t i = 0; i < node->rank; i++) {
        if (!dim_is_const(&blueprint->graph.dims, node->shape[i], &out->shape[i]))
            return fail(err, ERR_SHAPE, "dim %u is not constant", i);
        if (!checked_mul_i64(out->count, out->shape[i], &out->count))
            return fail(err, ERR_LIMIT, "the number of elements overflows");
    }
    int64_t bytes = 0;
    if (!checked_mul_i64(out->count, (int64_t)dtype_bytes(out->dtype), &bytes) ||
        bytes > LIMIT_TENSOR_BYTES)
        return fail(err, ERR_LIMIT, "more than %lld bytes", (long long)LIMIT_TENSOR_BYTES);
    out->bytes = (size_t)bytes;
    return true;
}

#define KEY_NAME_BYTES 256

static uint64_t make_key(uint64_t seed, const char *name)
{
    uint8_t text[8 + KEY_NAME_BYTES], digest[SHA256_BYTES];
    uint64_t mixed = 0;
    size_t length = strlen(name);
    for (int i = 0; i < 8; i++)
        text[i] = (uint8_t)(seed >> (8 * i));
    if (length <= KEY_NAME_BYTES) {
        memcpy(text + 8, name, length);
    } else { /* a longer name is replaced by its hash */
        sha256(name, length, text + 8);
        length = SHA256_BYTES;
    }
    sha256(text, 8 + length, digest);
    for (int i = 0; i < 8; i++)
        mixed |= (uint64_t)digest[i] << (8 * i);
    return rng_key(mixed);
}

/* Expresses every kind as start + scale × random number, which is normal if *out_normal, otherwise
 * uniform in [0, 1). */
static void find_distribution(const struct param_init *init, const struct extent *e, double *start,
                              double *scale, bool *out_normal)
{
    double receptive = 1;
    for (uint32_t i = 2; i < e->rank; i++)
        receptive *= (double)e->shape[i];
    double fan_in = e->rank > 1 ? (double)e->shape[1] * receptive : 1;
    double fan_out = e->rank > 1 ? (double)e->shape[0] * receptive : 1;
    double deviation = 0;
    bool xavier = init->kind == INIT_XAVIER_UNIFORM || init->kind == INIT_XAVIER_NORMAL;
    if (xavier)
        deviation = init->a * sqrt(2 / (fan_in + fan_out));
    else
        deviation = sqrt(2 / (1 + init->a * init->a)) / sqrt(fan_in);
    *out_normal = init->kind == INIT_NORMAL || init->kind == INIT_XAVIER_NORMAL ||
                  init->kind == INIT_KAIMING_NORMAL;
    if (init->kind == INIT_UNIFORM) {
        *start = init->a;
        *scale = init->b - init->a;
    } else if (init->kind == INIT_NORMAL) {
        *start = init->a;
        *scale = init->b;
    } else if (*out_normal) {
        *start = 0;
        *scale = deviation;
    } else {
        *start = -sqrt(3) * deviation;
        *scale = -2 * *start;
    }
}

static void store(enum dtype dtype, void *data, int64_t index, double value)
{
    switch (dtype) {
    case DTYPE_F64: ((double *)data)[index] = value; break;
    case DTYPE_F32: ((float *)data)[index] = (float)value; break;
    case DTYPE_F16: ((uint16_t *)data)[index] = f16_from_double(value); break;
    case DTYPE_BF16: ((uint16_t *)data)[index] = bf16_from_double(value); break;
    case DTYPE_I64: ((int64_t *)data)[index] = (int64_t)value; break;
    case DTYPE_I32: ((int32_t *)data)[index] = (int32_t)value; break;
    case DTYPE_I16: ((int16_t *)data)[index] = (int16_t)value; break;
    case DTYPE_I8: ((int8_t *)data)[index] = (int8_t)value; break;
    case DTYPE_U8:
    case DTYPE_BOOL: ((uint8_t *)data)[index] = (uint8_t)value; break;
    case DTYPE_U16: ((uint16_t *)data)[index] = (uint16_t)value; break;
    case DTYPE_U32: ((uint32_t *)data)[index] = (uint32_t)value; break;
    case DTYPE_U64: ((uint64_t *)data)[index] = (uint64_t)value; break;
    case DTYPE_NONE:
    case DTYPE_COUNT: break;
    }
}

/* As store, for consecutive elements. */
static void store_row(enum dtype dtype, void *data, int64_t first, const double *values,
                      int64_t count)
{
    if (dtype == DTYPE_F32) {
        float *row = (float *)data + first;
        for (int64_t i = 0; i < count; i++)
            row[i] = (float)values[i];
        return;
    }
    for (int64_t i = 0; i < count; i++)
        store(dtype, data, first + i, values[i]);
}

#define ROW 256
#define NPY_HEAD_BYTES 65536 /* more than the header of a .npy file takes */

static void fill(const struct param_init *init, const struct extent *e, void *data)
{
    if (init->kind == INIT_ZEROS)
        return; /* memory from the arena is zeroed */
    if (init->kind == INIT_ONES || init->kind == INIT_CONSTANT) {
        for (int64_t i = 0; i < e->count; i++)
            store(e->dtype, data, i, init->kind == INIT_ONES ? 1 : init->a);
        return;
    }
    double start = 0, scale = 0;
    bool normal = false;
    find_distribution(init, e, &start, &scale, &normal);
    uint64_t key = make_key(init->seed, e->name);
    for (int64_t i = 0; i < e->count; i += ROW) {
        int64_t count = e->count - i < ROW ? e->count - i : ROW;
        double row[ROW] = {0};
        if (!normal)
            rng_uniforms(key, (uint64_t)i, (size_t)count, row);
        for (int64_t k = 0; normal && k < count; k++)
            row[k] = rng_normal(key, (uint64_t)(i + k));
        for (int64_t k = 0; k < ROW; k++)
            row[k] = start + scale * row[k];
        store_row(e->dtype, data, i, row, count);
    }
}

static bool read_npy(int fd, const char *path, const struct extent *e, struct arena *arena,
                     void **out, struct error *err)
{
    char *bytes = NULL;
    size_t size = 0;
    struct npy npy;
    if (!file_read_open(fd, path, e->bytes + NPY_HEAD_BYTES, &bytes, &size, err))
        return false;
    bool ok = npy_parse(bytes, size, arena, &npy, err);
    free(bytes);
    if (!ok)
        return false;
    if (dtype_from_npy(npy.descr) != e->dtype)
        return fail(err, ERR_SHAPE, "'%.200s' holds %s, the parameter is %s", path, npy.descr,
                    dtype_npy(e->dtype));
    if (npy.rank != e->rank || memcmp(npy.shape, e->shape, e->rank * sizeof e->shape[0]) != 0)
        return fail(err, ERR_SHAPE, "'%.200s' holds an array of another shape than the parameter's",
                    path);
    *out = (void *)npy.data; /* npy.data is in our arena */
    return true;
}

static bool read_file(const struct param_init *init, const char *folder, const struct extent *e,
                      struct arena *arena, void **out, struct error *err)
{
    if (!folder)
        return fail(err, ERR_UNSUPPORTED,
                    "values from a file need a blueprint that lies in a folder");
    struct import_tensor tensor = {
        .name = e->name, .dtype = e->dtype, .rank = e->rank, .bytes = e->bytes};
    memcpy(tensor.shape, e->shape, sizeof tensor.shape);
    int fd = file_open_below(folder, init->path, err);
    if (fd < 0)
        return false;
    bool ok = init->kind == INIT_FILE
                  ? read_npy(fd, init->path, e, arena, out, err)
                  : import_safetensors(fd, init->path, &tensor, arena, out, err);
    close(fd);
    return ok;
}

/* The values of one copy; *out may be those that the model contains. */
static bool make_values(const struct param_init *init, const char *folder, const struct extent *e,
                        struct arena *arena, const void **out, struct error *err)
{
    void *made = NULL;
    if (init->kind == INIT_NONE)
        return fail(err, ERR_NOT_FOUND,
                    "no values were given, and the blueprint has no 'init' for it");
    if (reads_file((enum init_kind)init->kind)) {
        if (!read_file(init, folder, e, arena, &made, err))
            return false;
    } else if (init->kind == INIT_DATA) {
        assert(init->data_bytes == e->bytes);
    } else {
        made = arena_alloc(arena, e->bytes, 64);
        fill(init, e, made);
    }
    *out = init->kind == INIT_DATA ? init->data : made;
    return true;
}

/* Of a parameter of several copies. Each has a seed of its own, and the first one that of one copy
 * alone. */
static bool make_copies(const struct param_init *init, const char *folder, const struct extent *all,
                        struct arena *arena, const void **out, struct error *err)
{
    struct extent e = *all;
    struct param_init each = *init;
    char *values = arena_alloc(arena, all->bytes, 64);
    assert(all->rank > 0 && all->shape[0] == init->copies);
    memmove(e.shape, e.shape + 1, --e.rank * sizeof *e.shape);
    e.count /= init->copies;
    e.bytes /= init->copies;
    bool given = init->kind == INIT_DATA || reads_file((enum init_kind)init->kind);
    const void *one = NULL;
    for (uint32_t i = 0; i < init->copies; i++) {
        each.seed = init->seed ^ (uint64_t)i << 32;
        if ((i == 0 || !given) && !make_values(&each, folder, &e, arena, &one, err))
            return false;
        if (e.bytes > 0)
            memcpy(values + i * e.bytes, one, e.bytes);
    }
    *out = values;
    return true;
}

bool blueprint_param_data(const struct blueprint *blueprint, uint32_t index, const char *folder,
                          struct arena *arena, struct package_param *out, struct error *err)
{
    const struct node *node = graph_node(&blueprint->graph, blueprint->graph.params.items[index]);
    const struct param_init *init = &blueprint->inits[index];
    const char *name = node->attrs->name;
    struct extent e;
    const void *values;
    if (!measure(blueprint, node, &e, err) ||
        !(init->copies ? make_copies : make_values)(init, folder, &e, arena, &values, err))
        return fail_at(err, "param '%s'", name);
    *out = (struct package_param){.dtype = e.dtype, .data = values, .data_bytes = e.bytes};
    return true;
}
