/* The tensors of a training step: any strides, gradients that nobody wants, cotangents that are not
 * given, adding to gradients, no rows. */
#include <stdlib.h>

#include "base/strbuf.h"
#include "support/trained_small.h"

static void says_what_there_is(void **state)
{
    (void)state;
    urza_module *module = trained_load(&shared, NULL);
    assert_int_equal(urza_has_backward(module), 1);
    assert_int_equal(urza_has_gradient(module, "x"), 1);
    assert_int_equal(urza_has_gradient(module, "w"), 1);
    assert_int_equal(urza_has_gradient(module, "k"), 0); /* integers */
    assert_int_equal(urza_has_gradient(module, "y"), 0);
    assert_int_equal(urza_has_gradient(module, ""), 0);
    assert_int_equal(urza_has_gradient(module, NULL), 0);
    assert_int_equal(urza_has_gradient(NULL, "x"), 0);
    assert_int_equal(urza_has_backward(NULL), 0);
    urza_unload(module);
    struct trained t;
    trained_compile_text(&t, SMALL_TEXT("f32"), "v");
    module = trained_load(&t, NULL);
    assert_int_equal(urza_has_gradient(module, "v"), 1);
    assert_int_equal(urza_has_gradient(module, "x"), 0);
    assert_int_equal(urza_has_gradient(module, "w"), 0);
    urza_unload(module);
    trained_release(&t);
}

/* What was given may be gone after the call: shapes and strides, and the memory of tensors that are
 * not dense. */
static void forgets_what_it_does_not_need(void **state)
{
    (void)state;
    static const char *const targets[] = {NULL, "interpreter"};
    struct trained *t = &shared;
    size_t bytes;
    for (size_t i = 0; i < 2; i++) {
        urza_module *module = trained_load(t, &(urza_load_options){.target = targets[i]});
        trained_step(t, module, 0);
        void *bits = trained_copy(t, &bytes);
        trained_clear(t);
        DLTensor inputs[2], outputs[3];
        memcpy(inputs, t->inputs, sizeof inputs);
        memcpy(outputs, t->outputs, sizeof outputs);
        int64_t *shapes = malloc(4 * 2 * sizeof *shapes),
                *strides = malloc(2 * 2 * sizeof *strides);
        float *spread = malloc(ROWS * 12 * sizeof *spread), *wide = malloc(ROWS * 6 * sizeof *wide);
        const float *x = t->inputs[X].data;
        for (int64_t k = 0; k < ROWS * 6; k++)
            spread[2 * k] = x[k];
        memcpy(shapes, (int64_t[]){ROWS, 6, ROWS, 0, ROWS, 3, ROWS, 6}, 8 * sizeof *shapes);
        memcpy(strides, (int64_t[]){12, 2, 6, 1}, 4 * sizeof *strides);
        inputs[X] = (DLTensor){.data = spread,
                               .device = {.device_type = kDLCPU},
                               .ndim = 2,
                               .dtype = t->inputs[X].dtype,
                               .shape = shapes,
                               .strides = strides};
        inputs[K].shape = shapes + 2;
        outputs[Y].shape = shapes + 4;
        outputs[Y].data = wide; /* strided: 6 apart */
        outputs[Y].strides = strides + 2;
        outputs[Z].shape = shapes + 6;
        urza_tape *tape = NULL;
        urza_error err;
        must(urza_forward_train(module, inputs, 2, t->params, 2, outputs, 3, &tape, &err), &err);
        for (int64_t row = 0; row < ROWS; row++)
            memcpy((float *)t->results[Y] + 3 * row, wide + 6 * row, 3 * sizeof *wide);
        memset(shapes, 0xee, 8 * sizeof *shapes);
        memset(strides, 0xee, 4 * sizeof *strides);
        memset(spread, 0xee, ROWS * 12 * sizeof *spread);
        free(shapes);
        free(strides);
        free(spread);
        free(wide);
        finish(t, tape, 0);
        must_have(t, bits, bytes, "strided tensors that are gone");
        urza_unload(module);
    }
}

/* A tensor over memory in which its elements lie from the last to the first, with others between
 * them. */
struct reversed {
    DLTensor dl;
    int64_t strides[LIMIT_RANK];
    char *memory;
    size_t item;
    int64_t count;
};

static void reverse(struct reversed *r, const DLTensor *of)
{
    int64_t step = -3;
    *r = (struct reversed){.dl = *of, .item = (size_t)of->dtype.bits / 8, .count = 1};
    for (int32_t i = of->ndim; i-- > 0;) {
        r->strides[i] = step;
        step *= of->shape[i] > 0 ? of->shape[i] : 1;
        r->count *= of->shape[i];
    }
    r->memory = calloc((size_t)r->count * 3 + 1, r->item);
    r->dl.data = r->memory;
    r->dl.strides = r->strides;
    r->dl.byte_offset = r->count > 0 ? (uint64_t)(r->count - 1) * 3 * r->item : 0;
    const char *from = of->data;
    for (int64_t i = 0; i < r->count; i++)
        memcpy(r->memory + (size_t)(r->count - 1 - i) * 3 * r->item, from + (size_t)i * r->item,
               r->item);
}

/* Copies back to dense memory; between the elements nothing was written. */
static void restore(struct reversed *r, void *to)
{
    for (int64_t i = 0; i < r->count; i++) {
        const char *at = r->memory + (size_t)(r->count - 1 - i) * 3 * r->item;
        memcpy((char *)to + (size_t)i * r->item, at, r->item);
        for (size_t k = r->item; k < 3 * r->item && i > 0; k++)
            assert_int_equal(at[k], 0);
    }
    free(r->memory);
}

/* Inputs, params, cotangents, outputs and gradients at once. */
static void strides_change_nothing(void **state)
{
    (void)state;
    struct trained *t = &shared;
    size_t bytes;
    void *bits = plain_bits(t, &bytes);
    struct trained with = *t;
    struct reversed all[12];
    DLTensor inputs[2], params[2], outputs[3], cotangents[3], input_grads[2], param_grads[2];
    memcpy(cotangents, t->cotangents, sizeof cotangents);
    memcpy(input_grads, t->input_grads, sizeof input_grads);
    memcpy(param_grads, t->param_grads, sizeof param_grads);
    const struct {
        DLTensor *to;
        const DLTensor *of;
    } lists[] = {
        {&inputs[X], &t->inputs[X]},           {&inputs[K], &t->inputs[K]},
        {&params[W], &t->params[W]},           {&params[V], &t->params[V]},
        {&cotangents[Y], &t->cotangents[Y]},   {&cotangents[Z], &t->cotangents[Z]},
        {&outputs[Y], &t->outputs[Y]},         {&outputs[N], &t->outputs[N]},
        {&outputs[Z], &t->outputs[Z]},         {&input_grads[X], &t->input_grads[X]},
        {&param_grads[W], &t->param_grads[W]}, {&param_grads[V], &t->param_grads[V]},
    };
    trained_clear(t);
    for (int i = 0; i < 12; i++) {
        reverse(&all[i], lists[i].of);
        *lists[i].to = all[i].dl;
    }
    with.inputs = inputs;
    with.params = params;
    with.outputs = outputs;
    with.cotangents = cotangents;
    with.input_grads = input_grads;
    with.param_grads = param_grads;
    urza_module *module = trained_load(t, NULL);
    finish(&with, begin(&with, module), 0);
    assert_int_equal(stats_of(module).copied_inputs, 4);
    for (int i = 0; i < 12; i++) {
        if (i >= 6)
            restore(&all[i], lists[i].of->data);
        else
            free(all[i].memory);
    }
    must_have(t, bits, bytes, "reversed tensors");
    urza_unload(module);
}

/* sum = old + gradient, rounded once, by the conversions of the table of dtypes. */
static void must_be_sum(enum dtype dtype, const void *sum, const void *old, const void *gradient,
                        int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        double a, b, found;
        switch ((int)dtype) {
        case DTYPE_F32:
            a = ((const float *)old)[i] + ((const float *)gradient)[i];
            found = ((const float *)sum)[i];
            break;
        case DTYPE_F64:
            a = ((const double *)old)[i] + ((const double *)gradient)[i];
            found = ((const double *)sum)[i];
            break;
        case DTYPE_F16:
            a = f16_to_double(((const uint16_t *)old)[i]);
            b = f16_to_double(((const uint16_t *)gradient)[i]);
            a = f16_to_double(f16_from_double(a + b));
            found = f16_to_double(((const uint16_t *)sum)[i]);
            break;
        default:
            a = bf16_to_double(((const uint16_t *)old)[i]);
            b = bf16_to_double(((const uint16_t *)gradient)[i]);
            a = bf16_to_double(bf16_from_double(a + b));
            found = bf16_to_double(((const uint16_t *)sum)[i]);
        }
        if (a != found)
            TEST_FAILED("%s: element %lld: %g, expected %g", dtype_name(dtype), (long long)i, found,
                        a);
    }
}

static void adds_to_gradients(void **state)
{
    (void)state;
    static const char *const texts[] = {SMALL_TEXT("f32"), SMALL_TEXT("f16"), SMALL_TEXT("bf16"),
                                        SMALL_TEXT("f64")};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct trained t;
        trained_compile_text(&t, texts[i], NULL);
        trained_size(&t, (int64_t[LIMIT_NAMED_DIMS]){ROWS}, 3, FILL_NORMAL);
        urza_module *module = trained_load(&t, NULL);
        const struct tensor *of = &t.sample.outputs[t.output_count];
        for (int strided = 0; strided < 2; strided++) {
            char *gradient[3], *old[3];
            struct reversed reversed[3];
            trained_step(&t, module, 0);
            DLTensor *lists[] = {&t.input_grads[X], &t.param_grads[W], &t.param_grads[V]};
            DLTensor kept[3] = {*lists[0], *lists[1], *lists[2]};
            for (int k = 0; k < 3; k++) {
                gradient[k] = malloc(of[k].bytes);
                old[k] = malloc(of[k].bytes);
                assert_ptr_equal(lists[k]->data, t.results[t.output_count + (uint32_t)k]);
                memcpy(gradient[k], lists[k]->data, of[k].bytes);
                random_fill(of[k].dtype, of[k].count, 50 + (uint64_t)k, FILL_NORMAL, 0, old[k]);
                memcpy(lists[k]->data, old[k], of[k].bytes);
                if (strided) {
                    reverse(&reversed[k], lists[k]);
                    *lists[k] = reversed[k].dl;
                }
            }
            finish(&t, begin(&t, module), URZA_ACCUMULATE);
            for (int k = 0; k < 3; k++) {
                *lists[k] = kept[k];
                if (strided)
                    restore(&reversed[k], lists[k]->data);
                must_be_sum(of[k].dtype, lists[k]->data, old[k], gradient[k], of[k].count);
                free(old[k]);
                free(gradient[k]);
            }
        }
        urza_unload(module);
        trained_release(&t);
    }
}

/* Of what nobody wants no kernel runs, and nothing else changes. */
static void computes_what_is_wanted(void **state)
{
    (void)state;
    struct trained *t = &shared;
    size_t bytes;
    uint64_t launches[8] = {0}, forward, all;
    plain_bits(t, &bytes);
    float *x = malloc(ROWS * 6 * sizeof *x), w[30], v[15];
    memcpy(x, t->input_grads[X].data, ROWS * 6 * sizeof *x);
    memcpy(w, t->param_grads[W].data, sizeof w);
    memcpy(v, t->param_grads[V].data, sizeof v);
    DLTensor *gx = &t->input_grads[X], *gw = &t->param_grads[W], *gv = &t->param_grads[V];
    void *datas[] = {gx->data, gw->data, gv->data};
    urza_module *module = trained_load(t, NULL);
    urza_tape_release(begin(t, module)); /* a tape need not be used */
    forward = all = stats_of(module).launches;
    for (int which = 0; which < 8; which++) {
        trained_clear(t);
        gx->data = which & 1 ? datas[0] : NULL;
        gw->data = which & 2 ? datas[1] : NULL;
        gv->data = which & 4 ? datas[2] : NULL;
        urza_tape *tape = begin(t, module);
        uint64_t before = stats_of(module).launches;
        assert_int_equal(before - all, forward); /* all of forward_train in any case */
        finish(t, tape, 0);
        all = stats_of(module).launches;
        launches[which] = all - before;
        char pattern[256];
        memset(pattern, 0x5a, sizeof pattern);
        assert_memory_equal(datas[0], which & 1 ? (void *)x : pattern, ROWS * 6 * sizeof *x);
        assert_memory_equal(datas[1], which & 2 ? (void *)w : pattern, sizeof w);
        assert_memory_equal(datas[2], which & 4 ? (void *)v : pattern, sizeof v);
    }
    assert_int_equal(launches[0], 0);
    for (int which = 1; which < 7; which++)
        if (target_best_here())
            assert_true(launches[which] > 0 && launches[which] <= launches[7]);
    if (target_best_here())
        assert_true(launches[4] < launches[2] && launches[4] < launches[7]);
    urza_error err; /* no lists are no gradients */
    urza_tape *tape = begin(t, module);
    must(urza_backward(tape, &(urza_gradients){.cotangents = NULL}, &err), &err);
    urza_tape_release(tape);
    gx->data = datas[0];
    gw->data = datas[1];
    gv->data = datas[2];
    free(x);
    urza_unload(module);
}

static void no_cotangent_is_zeros(void **state)
{
    (void)state;
    static const char *const targets[] = {NULL, "interpreter"};
    struct trained *t = &shared;
    DLTensor *y = &t->cotangents[Y], *z = &t->cotangents[Z];
    DLTensor kept[2] = {*y, *z};
    static float zeros[ROWS * 6];
    size_t bytes;
    for (size_t i = 0; i < 2; i++) {
        urza_module *module = trained_load(t, &(urza_load_options){.target = targets[i]});
        for (int which = 0; which < 3; which++) {
            DLTensor *no = which == 0 ? y : z;
            no->data = zeros;
            if (which == 2)
                y->data = zeros;
            trained_step(t, module, 0);
            void *bits = trained_copy(t, &bytes);
            no->data = NULL;
            if (which == 2)
                y->data = NULL;
            trained_step(t, module, 0);
            must_have(t, bits, bytes, "no cotangent");
            *y = kept[0];
            *z = kept[1];
        }
        DLTensor *list = t->cotangents;
        y->data = z->data = NULL;
        trained_step(t, module, 0);
        void *bits = trained_copy(t, &bytes);
        t->cotangents = NULL; /* no list at all */
        trained_step(t, module, 0);
        must_have(t, bits, bytes, "no cotangents");
        t->cotangents = list;
        *y = kept[0];
        *z = kept[1];
        urza_unload(module);
    }
}

/* No rows: gradients by x are empty, those by w and v are zeros. */
static void works_without_rows(void **state)
{
    (void)state;
    static const char *const targets[] = {NULL, "interpreter"};
    static const int64_t none[LIMIT_NAMED_DIMS];
    struct trained t;
    trained_compile_text(&t, SMALL_TEXT("f32"), NULL);
    trained_size(&t, none, 1, FILL_NORMAL);
    for (size_t i = 0; i < 4; i++) {
        urza_module *module = trained_load(&t, &(urza_load_options){.target = targets[i % 2]});
        if (i >= 2) /* without memory */
            t.inputs[X].data = t.inputs[K].data = t.outputs[Y].data = t.input_grads[X].data = NULL;
        trained_step(&t, module, 0);
        for (int k = 0; k < 30; k++)
            assert_true(((float *)t.param_grads[W].data)[k] == 0);
        finish(&t, begin(&t, module), URZA_ACCUMULATE);
        for (int k = 0; k < 15; k++)
            assert_true(((float *)t.param_grads[V].data)[k] == 0);
        urza_unload(module);
    }
    trained_release(&t);
}

/* More results than there are bits for: each gradient alone has the bits that it has among all. */
static void many_gradients(void **state)
{
    (void)state;
    enum { PARAMS = 70 };
    struct trained t;
    struct arena arena;
    struct strbuf text;
    arena_init(&arena);
    strbuf_init(&text, &arena);
    strbuf_puts(&text, "graph \"many\"\n%1 = input \"x\" : f32[4]\n");
    for (int i = 0; i < PARAMS; i++)
        strbuf_printf(&text, "%%%d = param \"w%d\" : f32[4]\n", 2 + i, i);
    for (int i = 0; i < PARAMS; i++)
        strbuf_printf(&text, "%%%d = mul %%%d, %%%d : f32[4]\n%%%d = tanh %%%d : f32[4]\n",
                      72 + 2 * i, i > 0 ? 71 + 2 * i : 1, 2 + i, 73 + 2 * i, 72 + 2 * i);
    strbuf_printf(&text, "output \"y\" %%%d\n", 71 + 2 * PARAMS);
    trained_compile_text(&t, text.data, NULL);
    trained_size(&t, (int64_t[LIMIT_NAMED_DIMS]){0}, 1, FILL_NORMAL);
    for (int i = 0; i < PARAMS * 4; i++) /* so that gradients do not vanish */
        ((float *)t.params[i / 4].data)[i % 4] = 1.5f + (float)(i % 5) * 0.125f;
    urza_module *module = trained_load(&t, NULL);
    trained_step(&t, module, 0);
    trained_judge(&t, NULL);
    float all[PARAMS][4];
    void *places[PARAMS];
    for (int i = 0; i < PARAMS; i++) {
        places[i] = t.param_grads[i].data;
        memcpy(all[i], places[i], sizeof all[i]);
        assert_true(all[i][0] != 0);
        t.param_grads[i].data = NULL;
    }
    t.input_grads[0].data = NULL;
    for (int i = 0; i < PARAMS; i++) {
        t.param_grads[i].data = places[i];
        trained_step(&t, module, 0);
        assert_memory_equal(places[i], all[i], sizeof all[i]);
        t.param_grads[i].data = NULL;
    }
    urza_unload(module);
    trained_release(&t);
    arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_what_there_is),      cmocka_unit_test(forgets_what_it_does_not_need),
        cmocka_unit_test(strides_change_nothing),  cmocka_unit_test(adds_to_gradients),
        cmocka_unit_test(computes_what_is_wanted), cmocka_unit_test(no_cotangent_is_zeros),
        cmocka_unit_test(works_without_rows),      cmocka_unit_test(many_gradients),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
