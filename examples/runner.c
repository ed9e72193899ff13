/* Runs a package once on random input and prints one line of JSON about it.
 *
 *     runner PACKAGE [--threads N] [--dims B=32,S=16] [--seed N] [--repeat N] [--target NAME]
 *            [--unsigned] [--key HEX]
 *
 * A host program like any other: it includes urza/run.h and links liburza_runtime, nothing else. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "urza/run.h"

#define MAX_KEYS 16
#define MAX_DIMS 32

struct settings {
    const char *path, *dims, *target;
    uint32_t threads;
    uint64_t seed;
    long repeat;
    int allow_unsigned;
    uint8_t keys[MAX_KEYS][32];
    uint32_t key_count;
};

struct tensor {
    DLTensor dl;
    int64_t shape[8];
};

static double now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static void *must_alloc(size_t size)
{
    void *memory = aligned_alloc(64, (size + 127) / 64 * 64);
    if (!memory) {
        fprintf(stderr, "runner: no memory for %zu bytes\n", size);
        exit(1);
    }
    return memory;
}

static void die(const urza_error *err)
{
    fprintf(stderr, "runner: %s: %s%s%s\n", urza_error_name(err->code), err->place,
            err->place[0] ? ": " : "", err->message);
    exit(err->code);
}

static void usage(void)
{
    fputs("usage: runner PACKAGE [--threads N] [--dims B=32,S=16] [--seed N] [--repeat N]\n"
          "              [--target NAME] [--unsigned] [--key HEX]\n",
          stderr);
    exit(64);
}

static uint64_t parse_number(const char *text, uint64_t max)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (end == text || *end || errno || *text == '-' || value > max)
        usage();
    return value;
}

static void parse_key(const char *hex, struct settings *out)
{
    if (out->key_count == MAX_KEYS || strlen(hex) != 64 ||
        strspn(hex, "0123456789abcdefABCDEF") != 64)
        usage();
    uint8_t *key = out->keys[out->key_count++];
    for (int i = 0; i < 32; i++) {
        char digits[3] = {hex[2 * i], hex[2 * i + 1], 0};
        key[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
}

static struct settings parse_arguments(int argc, char **argv)
{
    struct settings out = {.threads = 1, .seed = 1, .repeat = 100};
    for (int i = 1; i < argc; i++) {
        const char *option = argv[i];
        if (strncmp(option, "--", 2) != 0) {
            if (out.path)
                usage();
            out.path = option;
            continue;
        }
        if (strcmp(option, "--unsigned") == 0) {
            out.allow_unsigned = 1;
            continue;
        }
        if (++i == argc)
            usage();
        if (strcmp(option, "--threads") == 0)
            out.threads = (uint32_t)parse_number(argv[i], UINT32_MAX);
        else if (strcmp(option, "--seed") == 0)
            out.seed = parse_number(argv[i], UINT64_MAX);
        else if (strcmp(option, "--repeat") == 0)
            out.repeat = (long)parse_number(argv[i], 100000000);
        else if (strcmp(option, "--dims") == 0)
            out.dims = argv[i];
        else if (strcmp(option, "--target") == 0)
            out.target = argv[i];
        else if (strcmp(option, "--key") == 0)
            parse_key(argv[i], &out);
        else
            usage();
    }
    if (!out.path)
        usage();
    return out;
}

/* The value for a dim in "B=32,S=16"; found counts how many of them were used. */
static int given_value(const char *dims, const char *name, int64_t *out)
{
    size_t length = strlen(name);
    for (const char *at = dims; at && *at; at = strchr(at, ','), at += at ? 1 : 0) {
        if (strncmp(at, name, length) != 0 || at[length] != '=')
            continue;
        char *end;
        *out = strtoll(at + length + 1, &end, 10);
        if (end == at + length + 1 || (*end && *end != ','))
            usage();
        return 1;
    }
    return 0;
}

/* What was given, else the typical value, else the legal value nearest to 8. */
static int64_t dim_value(const urza_dim_info *dim, const char *dims, uint32_t *found)
{
    int64_t value;
    if (given_value(dims, dim->name, &value)) {
        ++*found;
        return value;
    }
    if (dim->typical > 0)
        return dim->typical;
    int64_t step = dim->multiple_of, below = 8 / step * step, above = (8 + step - 1) / step * step;
    value = above - 8 < 8 - below ? above : below;
    if (value < dim->min)
        value = (dim->min + step - 1) / step * step;
    return value > dim->max ? dim->max / step * step : value;
}

static void choose_dims(const urza_module *module, const char *dims, int64_t *out)
{
    uint32_t found = 0, given = 0;
    for (uint32_t i = 0; i < urza_dim_count(module) && i < MAX_DIMS; i++)
        out[i] = dim_value(urza_dim(module, i), dims, &found);
    for (const char *at = dims; at && *at; at++)
        given += *at == '=';
    if (found != given) {
        fprintf(stderr, "runner: --dims names a dim that the package does not have\n");
        exit(64);
    }
}

static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static double next_normal(uint64_t *state)
{
    double u = ((double)(next_random(state) >> 11) + 1) * 0x1p-53;
    double v = (double)(next_random(state) >> 11) * 0x1p-53;
    return sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
}

/* The bits of a float32, rounded to the 16 of a bf16. */
static uint16_t to_bf16(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* Good for |value| in the normal range of f16, or zero below it; enough for random input. */
static uint16_t to_f16(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint32_t sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude < 0x38800000)
        return (uint16_t)sign;
    return (uint16_t)(sign | ((magnitude - 0x38000000 + 0xfff + (bits >> 13 & 1)) >> 13));
}

static double from_f16(uint16_t bits)
{
    int exponent = bits >> 10 & 31, fraction = bits & 1023;
    double value = exponent == 31  ? (fraction ? NAN : INFINITY)
                   : exponent == 0 ? ldexp(fraction, -24)
                                   : ldexp(1024 + fraction, exponent - 25);
    return bits & 0x8000 ? -value : value;
}

static double get_element(DLDataType type, const char *at)
{
    union {
        double f64;
        float f32;
        uint16_t u16;
        int64_t i64;
        int32_t i32;
        int16_t i16;
        int8_t i8;
        uint8_t u8;
    } cell;
    memcpy(&cell, at, type.bits / 8u);
    if (type.code == kDLBfloat) {
        uint32_t bits = (uint32_t)cell.u16 << 16;
        memcpy(&cell, &bits, sizeof bits);
        return (double)cell.f32;
    }
    if (type.code == kDLFloat)
        return type.bits == 64 ? cell.f64 : type.bits == 32 ? (double)cell.f32 : from_f16(cell.u16);
    if (type.code != kDLInt)
        return cell.u8;
    return type.bits == 64   ? (double)cell.i64
           : type.bits == 32 ? cell.i32
           : type.bits == 16 ? cell.i16
                             : cell.i8;
}

/* Floats are standard normal, integers 0 to 3, bools 0 or 1. */
static void set_element(DLDataType type, char *at, uint64_t *random)
{
    if (type.code == kDLFloat || type.code == kDLBfloat) {
        double value = next_normal(random);
        float narrow = (float)value;
        uint16_t half = type.code == kDLBfloat ? to_bf16(narrow) : to_f16(narrow);
        const void *from = type.bits == 64   ? (const void *)&value
                           : type.bits == 32 ? (const void *)&narrow
                                             : (const void *)&half;
        memcpy(at, from, type.bits / 8u);
        return;
    }
    memset(at, 0, type.bits / 8u);
    *at = (char)(next_random(random) >> 60 & (type.code == kDLBool ? 1 : 3));
}

static int64_t elements(const DLTensor *tensor)
{
    int64_t count = 1;
    for (int32_t i = 0; i < tensor->ndim; i++)
        count *= tensor->shape[i];
    return count;
}

static void describe(struct tensor *out, const urza_tensor_info *info)
{
    out->dl = (DLTensor){.device = {.device_type = kDLCPU},
                         .ndim = info->rank,
                         .dtype = info->dtype,
                         .shape = out->shape};
}

static void make_inputs(const urza_module *module, const int64_t *dims, uint64_t seed,
                        struct tensor *tensors, DLTensor *out)
{
    urza_error err;
    uint64_t random = seed;
    for (uint32_t i = 0; i < urza_input_count(module); i++) {
        describe(&tensors[i], urza_input_info(module, i));
        DLTensor *tensor = &tensors[i].dl;
        if (urza_input_shape(module, i, dims, tensors[i].shape, &err) != 0)
            die(&err);
        size_t size = tensor->dtype.bits / 8u;
        int64_t count = elements(tensor);
        if (count < 0)
            usage();
        tensor->data = must_alloc((size_t)count * size);
        for (int64_t k = 0; k < count; k++)
            set_element(tensor->dtype, (char *)tensor->data + (size_t)k * size, &random);
        urza_input_fill(module, i, dims, tensor->data);
        out[i] = *tensor;
    }
}

static int by_value(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return a < b ? -1 : a > b;
}

/* Median time of `repeat` calls into the memory that outputs point at. */
static double median_us(urza_module *module, const DLTensor *inputs, DLTensor *outputs, long repeat)
{
    urza_error err;
    double *times = must_alloc((size_t)repeat * sizeof *times);
    for (long i = 0; i < repeat; i++) {
        double start = now_us();
        if (urza_call(module, inputs, urza_input_count(module), outputs, urza_output_count(module),
                      NULL, &err) != 0)
            die(&err);
        times[i] = now_us() - start;
    }
    if (repeat > 0)
        qsort(times, (size_t)repeat, sizeof *times, by_value);
    double median = repeat > 0 ? times[repeat / 2] : 0;
    free(times);
    return median;
}

static void print_string(const char *text)
{
    putchar('"');
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\')
            putchar('\\');
        if (c < 32)
            printf("\\u%04x", c);
        else
            putchar(c);
    }
    putchar('"');
}

static void print_number(double value)
{
    if (isfinite(value))
        printf("%.9g", value);
    else
        printf("null");
}

static void print_output(const urza_tensor_info *info, const DLTensor *tensor)
{
    static const char *const kinds[] = {
        [kDLInt] = "i", [kDLUInt] = "u", [kDLFloat] = "f", [kDLBfloat] = "bf"};
    printf("{\"name\":");
    print_string(info->name);
    if (info->dtype.code == kDLBool)
        printf(",\"dtype\":\"bool\",\"shape\":[");
    else
        printf(",\"dtype\":\"%s%u\",\"shape\":[", kinds[info->dtype.code], info->dtype.bits);
    for (int32_t i = 0; i < tensor->ndim; i++)
        printf("%s%" PRId64, i > 0 ? "," : "", tensor->shape[i]);
    double sum = 0;
    int64_t count = elements(tensor);
    for (int64_t i = 0; i < count; i++)
        sum +=
            get_element(tensor->dtype, (const char *)tensor->data + i * (tensor->dtype.bits / 8));
    printf("],\"sum\":");
    print_number(sum);
    printf("}");
}

struct figures {
    double load_ms, first_call_us, p50_us;
    uint64_t launches;
};

static void print_report(const urza_module *module, const struct figures *figures,
                         const DLTensor *outputs)
{
    urza_stats stats;
    urza_stats_get(module, &stats);
    printf("{\"kernel_id\":\"%s\",\"target\":\"%s\",\"load_ms\":%.3f,\"first_call_us\":%.3f,"
           "\"p50_us\":%.3f,\"launches\":%" PRIu64 ",\"arena_bytes\":%" PRIu64
           ",\"intermediate_bytes\":%" PRIu64 ",\"native_calls\":%" PRIu64
           ",\"fallback_calls\":%" PRIu64 ",\"fallback\":",
           urza_kernel_id(module), urza_target(module), figures->load_ms, figures->first_call_us,
           figures->p50_us, figures->launches, stats.arena_bytes, stats.intermediate_bytes,
           stats.native_calls, stats.fallback_calls);
    print_string(stats.last_fallback);
    printf(",\"outputs\":[");
    for (uint32_t i = 0; i < urza_output_count(module); i++) {
        if (i > 0)
            putchar(',');
        print_output(urza_output_info(module, i), &outputs[i]);
    }
    printf("]}\n");
}

static urza_module *load(const struct settings *settings, double *out_ms)
{
    urza_load_options options = {
        .trust = settings->allow_unsigned ? URZA_TRUST_ALLOW_UNSIGNED : URZA_TRUST_REQUIRE,
        .trusted_keys = settings->keys,
        .trusted_key_count = settings->key_count,
        .threads = settings->threads,
        .target = settings->target,
    };
    urza_module *module;
    urza_error err;
    double start = now_us();
    if (urza_load(settings->path, &options, &module, &err) != 0)
        die(&err);
    *out_ms = (now_us() - start) / 1e3;
    return module;
}

int main(int argc, char **argv)
{
    struct settings settings = parse_arguments(argc, argv);
    struct figures figures = {0};
    urza_module *module = load(&settings, &figures.load_ms);
    uint32_t inputs = urza_input_count(module), outputs = urza_output_count(module);
    struct tensor *tensors = must_alloc((inputs + outputs) * sizeof *tensors);
    DLTensor *given = must_alloc(inputs * sizeof *given);
    DLTensor *results = must_alloc(outputs * sizeof *results);
    int64_t dims[MAX_DIMS] = {0};
    choose_dims(module, settings.dims, dims);
    make_inputs(module, dims, settings.seed, tensors, given);
    for (uint32_t i = 0; i < outputs; i++) {
        describe(&tensors[inputs + i], urza_output_info(module, i));
        results[i] = tensors[inputs + i].dl;
    }

    urza_result *hold;
    urza_error err;
    urza_stats stats;
    double start = now_us();
    if (urza_call(module, given, inputs, results, outputs, &hold, &err) != 0)
        die(&err);
    figures.first_call_us = now_us() - start;
    urza_stats_get(module, &stats);
    figures.launches = stats.launches;
    figures.p50_us = median_us(module, given, results, settings.repeat);
    print_report(module, &figures, results);

    urza_result_release(hold);
    for (uint32_t i = 0; i < inputs; i++)
        free(tensors[i].dl.data);
    free(tensors);
    free(given);
    free(results);
    urza_unload(module);
    return 0;
}
