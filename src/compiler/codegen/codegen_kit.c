/* Hand-made nests as machine code; see codegen_kit_priv.h. */
#include "compiler/codegen/codegen_kit_priv.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#include "base/error.h"
#include "compiler/codegen/codegen.h"
#include "compiler/loop/nest_eval.h"
#include "compiler/target/target.h"
#include "package/package.h"
#include "package/plan.h"
#include <cmocka.h>

#define PAGE 4096u

void kit_init(struct kit *kit)
{
    struct error err = {0};
    uint32_t name;
    memset(kit, 0, sizeof *kit);
    arena_init(&kit->arena);
    dim_table_init(&kit->dims, &kit->arena);
    struct dim_name s = {.name = "S", .min = 0, .max = 1 << 20, .multiple_of = 1};
    assert_true(dim_declare(&kit->dims, &s, &name, &err));
    nest_init(&kit->nest, &kit->arena, &kit->dims, "hand");
    kit->S = expr_dim(&kit->nest, dim_named(&kit->dims, name));
}

void kit_release(struct kit *kit)
{
    arena_release(&kit->arena);
}

uint32_t kit_buffer(struct kit *kit, enum dtype dtype, bool out, int64_t per_s, int64_t more,
                    const void *data)
{
    struct nest *n = &kit->nest;
    expr_id elements =
        index_add(n, index_mul(n, kit->S, index_const(n, per_s)), index_const(n, more));
    kit->buffers[kit->count++] = (struct kit_buffer){dtype, out, per_s, more, data};
    return nest_buffer(n, &(struct nest_buffer){.name = out ? "out" : "in",
                                                .dtype = (uint8_t)dtype,
                                                .role = out ? ROLE_OUT : ROLE_IN,
                                                .elements = elements});
}

struct stmt *kit_loop(struct kit *kit, struct stmt *parent, expr_id extent, uint32_t lanes,
                      bool independent, expr_id *out_var)
{
    uint32_t var = nest_var(&kit->nest, "i", OVER_NONE, extent);
    struct stmt *loop = stmt_for(&kit->nest, var, independent);
    if (lanes) {
        loop->loop_kind = LOOP_VECTOR;
        loop->lanes = lanes;
    }
    block_add(&kit->nest, parent ? &parent->body : &kit->nest.body, loop);
    *out_var = expr_var(&kit->nest, var);
    return loop;
}

/* Memory directly before an inaccessible page. */
struct fence {
    unsigned char *map, *data;
    size_t map_bytes;
};

static struct fence fence_new(size_t bytes)
{
    struct fence f = {.map_bytes = (bytes + PAGE - 1) / PAGE * PAGE + PAGE};
    f.map = mmap(NULL, f.map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(f.map != MAP_FAILED);
    assert_int_equal(mprotect(f.map + f.map_bytes - PAGE, PAGE, PROT_NONE), 0);
    f.data = f.map + f.map_bytes - PAGE - bytes;
    return f;
}

static size_t elements_of(const struct kit_buffer *b, int64_t s)
{
    return (size_t)(b->per_s * s + b->more);
}

static void fill(const struct kit_buffer *b, size_t bytes, void *data)
{
    if (b->data)
        memcpy(data, b->data, bytes);
    else
        memset(data, b->dtype == DTYPE_BOOL ? 0 : 0xcc, bytes);
}

static bool agree(enum dtype dtype, union nest_value a, union nest_value b, double tolerance)
{
    if (!dtype_is_float(dtype))
        return a.i == b.i;
    if (isnan(a.f) || isnan(b.f))
        return isnan(a.f) && isnan(b.f);
    return memcmp(&a.f, &b.f, sizeof a.f) == 0 || fabs(a.f - b.f) <= tolerance * (1 + fabs(b.f));
}

static void call(urza_kernel_fn *kernel, void **arguments, int64_t s, const struct kit_check *check)
{
    struct fence scratch = fence_new((check->scratch_bytes + 63) / 64 * 64);
    if (check->extent == 0)
        kernel(arguments, &s, scratch.data, 0, 1);
    for (int64_t piece = 0; check->extent && piece < check->pieces; piece++)
        kernel(arguments, &s, scratch.data, check->extent * piece / check->pieces,
               check->extent * (piece + 1) / check->pieces);
    munmap(scratch.map, scratch.map_bytes);
}

static void check_at(struct kit *kit, const char *what, urza_kernel_fn *kernel,
                     const struct target *target, int64_t s, const struct kit_check *check)
{
    struct fence fences[KIT_BUFFERS];
    void *native[KIT_BUFFERS], *expected[KIT_BUFFERS];
    struct error err = {0};
    for (uint32_t i = 0; i < kit->count; i++) {
        const struct kit_buffer *b = &kit->buffers[i];
        size_t bytes = elements_of(b, s) * dtype_bytes(b->dtype);
        fences[i] = fence_new(bytes);
        native[i] = fences[i].data;
        expected[i] = arena_alloc(&kit->arena, bytes, 64);
        fill(b, bytes, native[i]);
        fill(b, bytes, expected[i]);
    }
    if (!nest_eval(&kit->nest, expected, &s, target->fma, &err))
        fail_msg("%s: %s", what, err.message);
    call(kernel, native, s, check);
    for (uint32_t i = 0; i < kit->count; i++) {
        const struct kit_buffer *b = &kit->buffers[i];
        for (size_t e = 0; e < elements_of(b, s); e++) {
            union nest_value x = nest_eval_load(b->dtype, native[i], (int64_t)e);
            union nest_value y = nest_eval_load(b->dtype, expected[i], (int64_t)e);
            if (!agree(b->dtype, x, y, check->tolerance))
                fail_msg("%s, %s, S %lld: buffer %u (%s), element %zu: %.17g (%lld), "
                         "expected %.17g (%lld)",
                         what, target->name, (long long)s, i, dtype_name(b->dtype), e, x.f,
                         (long long)x.i, y.f, (long long)y.i);
        }
        munmap(fences[i].map, fences[i].map_bytes);
    }
}

void kit_check(struct kit *kit, const char *what, const struct kit_check *check)
{
    struct error err = {0};
    struct nest *nest = &kit->nest;
    if (!nest_verify(nest, &err))
        fail_msg("%s: %s", what, err.message);
    for (uint32_t t = 0; target_at(t); t++) {
        const struct target *target = target_at(t);
        struct code_image image;
        if (!codegen(&(struct code_request){&nest, 1, target, NULL}, &kit->arena, &image, &err))
            fail_msg("%s, %s: %s", what, target->name, err.message);
        if (!target_supported_here(target->name))
            continue; /* it only compiles; check_packages runs such code in an emulator */
        void *code = mmap(NULL, image.size_bytes, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        assert_true(code != MAP_FAILED);
        memcpy(code, image.bytes, image.size_bytes);
        assert_int_equal(mprotect(code, image.size_bytes, PROT_READ | PROT_EXEC), 0);
        void *entry = (unsigned char *)code + image.kernel_offsets[0];
        urza_kernel_fn *kernel;
        memcpy(&kernel, &entry, sizeof kernel);
        for (uint32_t i = 0; i < check->s_count; i++)
            check_at(kit, what, kernel, target, check->s[i], check);
        munmap(code, image.size_bytes);
    }
}
