/* What may be said of a step, and what is refused, with its words: losses, names, options, and that
 * no text does harm. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/rng.h"
#include "compiler/step/step_test_util.h"

#include <cmocka.h> /* last: it defines fail as a macro */

/* Two outputs without dims, one with, and an integer one. */
#define BLOCK                                 \
    "graph \"g\"\n"                           \
    "dim B 1..64 multiple 1\n"                \
    "%1 = input \"x\" : f64[B]\n"             \
    "%2 = input \"k\" : i32[]\n"              \
    "%3 = param \"w\" : f64[]\n"              \
    "%4 = broadcast %3 {axes []} : f64[B]\n"  \
    "%5 = mul %1, %4 : f64[B]\n"              \
    "%6 = reduce_sum %5 {axes [0]} : f64[]\n" \
    "%7 = mul %6, %6 : f64[]\n"               \
    "%8 = add %2, %2 : i32[]\n"               \
    "output \"loss\" %7\n"                    \
    "output \"an error/2\" %6\noutput \"y\" %5\noutput \"n\" %8\n"

static void a_loss_may_be_an_output(void **state)
{
    (void)state;
    static const char *const losses[] = {NULL, "loss", "an error/2"};
    static const double x[] = {1, 2, 3, 4};
    for (size_t i = 0; i < sizeof losses / sizeof losses[0]; i++) {
        struct stepped s;
        stepped_begin(&s, BLOCK, "sgd", losses[i], NULL);
        assert_false(stepped_has(&s, "target"));
        stepped_set(&s, "x", x);
        stepped_set(&s, "w", &(double){0.5});
        stepped_set(&s, "lr", &(double){0.125});
        stepped_advance(&s);
        assert_true(stepped_output(&s, "loss") == (i < 2 ? 25 : 5));
        assert_true(stepped_get(&s, "w", 0) == 0.5 - 0.125 * (i < 2 ? 100 : 10));
        stepped_release(&s);
    }
}

/* "logits" are x scaled by w, so that there is something to train. */
#define LOGITS(shape, more)                        \
    "graph \"g\"\ndim B 1..64 multiple 1\n"        \
    "%1 = input \"x\" : f64" shape "\n"            \
    "%2 = param \"w\" : f64[]\n"                   \
    "%3 = broadcast %2 {axes []} : f64" shape "\n" \
    "%4 = mul %1, %3 : f64" shape "\n"             \
    "output \"logits\" %4\n" more

static const double VALUES[STEP_DIM * 3 * 2] = {0.5, -1,    2,     0.25, 3,   -0.75, 1,  0,
                                                -2,  1.5,   0.125, 4,    -3,  1,     .5, 2,
                                                -1,  0.375, .1,    3,    -.5, 2,     1,  0};

/* torch.nn.functional.cross_entropy with classes, of [STEP_DIM, 3, positions] */
static double cross_entropy(int positions, const double *target, double smoothing, double ignored)
{
    double sum = 0;
    int count = 0;
    for (int b = 0; b < STEP_DIM; b++) {
        for (int l = 0; l < positions; l++) {
            const double *x = VALUES + (ptrdiff_t)b * 3 * positions + l;
            double t = target[b * positions + l], total = 0, even = 0;
            for (int c = 0; c < 3; c++)
                total += exp(x[c * positions]);
            for (int c = 0; c < 3; c++)
                even += log(total) - x[c * positions];
            if (t == ignored)
                continue;
            sum += (1 - smoothing) * (log(total) - x[(int)t * positions]) + smoothing * even / 3;
            count++;
        }
    }
    return sum / count;
}

static void a_loss_may_be_an_operation(void **state)
{
    (void)state;
    static const double target[] = {0, 2, 1, 1, 2, 0, -100, 1};
    static const char two[] = LOGITS("[B, 3]", "output \"also\" %1\n");
    static const char one[] = LOGITS("[B, 3]", "");
    static const char three[] = LOGITS("[B, 3, 2]", "");
    const struct {
        const char *block, *loss;
        double expected;
        uint32_t rank;
        bool classes;
    } cases[] = {
        {one, "cross_entropy", cross_entropy(1, target, 0, -100), 1, true},
        {one, "cross_entropy()", cross_entropy(1, target, 0, -100), 1, true},
        {one, "cross_entropy(logits)", cross_entropy(1, target, 0, -100), 1, true},
        {two, " cross_entropy ( logits , label_smoothing = 0.25 ) ",
         cross_entropy(1, target, 0.25, -100), 1, true},
        {two, "cross_entropy(ignore_index=2, logits)", cross_entropy(1, target, 0, 2), 1, true},
        {three, "cross_entropy", cross_entropy(2, target, 0, -100), 2, true},
        {three, "cross_entropy(label_smoothing=0.5)", cross_entropy(2, target, 0.5, -100), 2, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct stepped s;
        stepped_begin(&s, cases[i].block, "sgd", cases[i].loss, NULL);
        const struct interp_tensor *t = stepped_input(&s, "target");
        assert_int_equal(t->dtype, DTYPE_I64);
        assert_int_equal(t->rank, cases[i].rank);
        stepped_set(&s, "x", VALUES);
        stepped_set(&s, "w", &(double){1});
        stepped_set(&s, "target", target);
        stepped_advance(&s);
        if (!(fabs(stepped_output(&s, "loss") - cases[i].expected) <= 1e-12))
            fail_msg("%s: %.17g, expected %.17g", cases[i].loss, stepped_output(&s, "loss"),
                     cases[i].expected);
        stepped_release(&s);
    }
}

static void other_losses_have_targets_as_the_output(void **state)
{
    (void)state;
    static const char one[] = LOGITS("[B, 3]", "");
    double sum = 0, far = 0;
    for (int i = 0; i < STEP_DIM * 3; i++) {
        sum += (VALUES[i] - 0.5) * (VALUES[i] - 0.5);
        far += fabs(VALUES[i] - 0.5);
    }
    const struct {
        const char *loss;
        double expected;
    } cases[] = {{"mse_loss", sum / (STEP_DIM * 3)},
                 {"mse_loss(reduction=sum)", sum},
                 {"l1_loss(logits, reduction=sum)", far}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct stepped s;
        stepped_begin(&s, one, "sgd", cases[i].loss, NULL);
        struct interp_tensor *t = stepped_input(&s, "target");
        assert_int_equal(t->dtype, DTYPE_F64);
        assert_int_equal(t->rank, 2);
        for (int64_t k = 0; k < t->count; k++)
            t->cells[k].f = 0.5;
        stepped_set(&s, "x", VALUES);
        stepped_set(&s, "w", &(double){1});
        stepped_advance(&s);
        assert_true(fabs(stepped_output(&s, "loss") - cases[i].expected) <= 1e-12);
        stepped_release(&s);
    }
}

struct refusal {
    const char *optimizer, *loss, *wrt;
    enum error_code code;
    const char *place, *message;
};

static void refuse(const char *block, const struct refusal *r)
{
    struct stepped s;
    struct error err = {0};
    if (stepped_try(&s, block, r->optimizer, r->loss, r->wrt, &err))
        fail_msg("%s, %s, %s: no error", r->optimizer, r->loss ? r->loss : "NULL",
                 r->wrt ? r->wrt : "NULL");
    bool says = strstr(err.message, r->message) || strstr(err.place, r->message);
    const char *place = strstr(err.place, r->place);
    bool twice = place && *r->place && strstr(place + 1, r->place);
    if (err.code != r->code || !says || !place || twice)
        fail_msg("%s, %s, %s: %s: %s: %s", r->optimizer, r->loss ? r->loss : "NULL",
                 r->wrt ? r->wrt : "NULL", error_name(err.code), err.place, err.message);
    stepped_release(&s);
}

static const struct refusal REFUSALS[] = {
    /* the text of the optimizer */
    {"", NULL, NULL, ERR_USAGE, "--step", "expected a name at ''"},
    {"(", NULL, NULL, ERR_USAGE, "--step", "expected a name at '('"},
    {"sgd(", NULL, NULL, ERR_USAGE, "--step", "expected a word at ''"},
    {"sgd)", NULL, NULL, ERR_USAGE, "--step", "expected '(' or the end at ')'"},
    {"sgd()x", NULL, NULL, ERR_USAGE, "--step", "expected '(' or the end at 'x'"},
    {"sgd(momentum)", NULL, NULL, ERR_USAGE, "--step", "'momentum'"},
    {"sgd(momentum=)", NULL, NULL, ERR_USAGE, "--step", "'momentum' has no value"},
    {"sgd(=1)", NULL, NULL, ERR_USAGE, "--step", "expected a word at '=1)'"},
    {"sgd(momentum=1,)", NULL, NULL, ERR_USAGE, "--step", "expected a word at ')'"},
    {"sgd(momentum=1 weight_decay=2)", NULL, NULL, ERR_USAGE, "--step",
     "expected ',' or ')' at 'weight_decay=2)'"},
    {"sgd(momentum=1, momentum=2)", NULL, NULL, ERR_USAGE, "--step", "'momentum' is given twice"},
    {"sgd(a, b)", NULL, NULL, ERR_USAGE, "--step", "'a' and 'b'"},
    {"sgd(a=1,b=1,c=1,d=1,e=1,f=1,g=1,h=1,i=1,j=1,k=1,l=1,m=1,n=1,o=1,p=1,q=1)", NULL, NULL,
     ERR_USAGE, "--step", "more than 16 attributes"},
    {"adagrad", NULL, NULL, ERR_USAGE, "--step",
     "'adagrad' is no optimizer: sgd, adam, adamw, lion, rmsprop"},
    {"relu", NULL, NULL, ERR_USAGE, "--step", "'relu' is no optimizer"},
    {"sgd(w)", NULL, NULL, ERR_USAGE, "--step", "'w'"},
    /* attributes of the optimizer */
    {"sgd(beta1=0.9)", NULL, NULL, ERR_USAGE, "--step",
     "'beta1' is no attribute of 'sgd' (momentum:"},
    {"sgd(clipnorm=1)", NULL, NULL, ERR_USAGE, "--step",
     "no option of a step (clip_norm, schedule"},
    {"sgd(moment=1)", NULL, NULL, ERR_USAGE, "--step", "'moment' is no attribute"},
    {"sgd(momentum=much)", NULL, NULL, ERR_BLUEPRINT, "--step", "momentum"},
    {"sgd(momentum=nan)", NULL, NULL, ERR_BLUEPRINT, "--step", "momentum"},
    {"sgd(weight_decay=inf)", NULL, NULL, ERR_BLUEPRINT, "--step", "weight_decay"},
    {"sgd(nesterov=true)", NULL, NULL, ERR_BLUEPRINT, "--step", "needs momentum"},
    {"sgd(nesterov=0.5)", NULL, NULL, ERR_BLUEPRINT, "--step", "nesterov"},
    {"adam(beta1=1)", NULL, NULL, ERR_BLUEPRINT, "--step", "beta1"},
    {"adam(beta2=-0.5)", NULL, NULL, ERR_BLUEPRINT, "--step", "beta2"},
    {"lion(beta2=1.5)", NULL, NULL, ERR_BLUEPRINT, "--step", "beta2"},
    {"rmsprop(alpha=1)", NULL, NULL, ERR_BLUEPRINT, "--step", "alpha"},
    {"adam(momentum=0.9)", NULL, NULL, ERR_USAGE, "--step", "momentum"},
    /* options of the step */
    {"sgd(clip_norm=-1)", NULL, NULL, ERR_USAGE, "--step", "'clip_norm'"},
    {"sgd(clip_norm=0)", NULL, NULL, ERR_USAGE, "--step", "'clip_norm'"},
    {"sgd(clip_norm=1e-60)", NULL, NULL, ERR_USAGE, "--step", "'clip_norm'"},
    {"sgd(clip_norm=nan)", NULL, NULL, ERR_USAGE, "--step", "'clip_norm'"},
    {"sgd(clip_norm=1e300)", NULL, NULL, ERR_USAGE, "--step", "'clip_norm'"},
    {"sgd(clip_norm=true)", NULL, NULL, ERR_USAGE, "--step", "'clip_norm'"},
    {"sgd(schedule=fast)", NULL, NULL, ERR_USAGE, "--step", "constant, linear or cosine"},
    {"sgd(schedule=1)", NULL, NULL, ERR_USAGE, "--step", "constant, linear or cosine"},
    {"sgd(schedule=linear)", NULL, NULL, ERR_USAGE, "--step", "needs 'steps'"},
    {"sgd(schedule=cosine, steps=4, warmup=4)", NULL, NULL, ERR_USAGE, "--step",
     "more than 'warmup'"},
    {"sgd(steps=4)", NULL, NULL, ERR_USAGE, "--step", "go with schedule"},
    {"sgd(floor=0.5)", NULL, NULL, ERR_USAGE, "--step", "go with schedule"},
    {"sgd(schedule=linear, steps=0)", NULL, NULL, ERR_USAGE, "--step", "'steps'"},
    {"sgd(schedule=linear, steps=4, floor=2)", NULL, NULL, ERR_USAGE, "--step", "'floor'"},
    {"sgd(warmup=-1)", NULL, NULL, ERR_USAGE, "--step", "'warmup'"},
    {"sgd(warmup=many)", NULL, NULL, ERR_USAGE, "--step", "'warmup'"},
    {"sgd(loss_scale=0)", NULL, NULL, ERR_USAGE, "--step", "'loss_scale'"},
    {"sgd(loss_scale=-2)", NULL, NULL, ERR_USAGE, "--step", "'loss_scale'"},
    {"sgd(loss_scale=static)", NULL, NULL, ERR_USAGE, "--step", "'loss_scale'"},
    {"sgd(loss_scale=inf)", NULL, NULL, ERR_USAGE, "--step", "'loss_scale'"},
    {"sgd(loss_scale=nan)", NULL, NULL, ERR_USAGE, "--step", "'loss_scale'"},
    {"sgd(loss_scale=1e39)", NULL, NULL, ERR_USAGE, "--step", "'loss_scale'"},
    {"sgd(loss_scale=1e-60)", NULL, NULL, ERR_USAGE, "--step", "'loss_scale'"},
    /* the loss */
    {"sgd", "", NULL, ERR_USAGE, "--loss", "expected a name"},
    {"sgd", "mse_loss(", NULL, ERR_USAGE, "--loss", "expected a word"},
    {"sgd", "q", NULL, ERR_USAGE, "--loss", "'q' is no output of the block, and no loss"},
    {"sgd", "relu", NULL, ERR_USAGE, "--loss", "'relu' is no output of the block, and no loss"},
    {"sgd", "relu(y)", NULL, ERR_USAGE, "--loss", "no loss"},
    {"sgd", "mse_loss", NULL, ERR_USAGE, "--loss",
     "the block has 4 outputs, say which: mse_loss(NAME)"},
    {"sgd", "mse_loss(q)", NULL, ERR_USAGE, "--loss", "no output is called 'q'"},
    {"sgd", "mse_loss(y, beta=1)", NULL, ERR_BLUEPRINT, "--loss", "beta"},
    {"sgd", "mse_loss(y, reduction=none)", NULL, ERR_BLUEPRINT, "--loss",
     "the loss is f64 with 1 dims"},
    {"sgd", "y", NULL, ERR_BLUEPRINT, "--loss", "the loss is f64 with 1 dims"},
    {"sgd", "n", NULL, ERR_BLUEPRINT, "--loss", "the loss is i32 with 0 dims"},
    {"sgd", "mse_loss(n)", NULL, ERR_SHAPE, "--loss", "i32, expected a float"},
    /* what is trained */
    {"sgd", NULL, "v", ERR_BLUEPRINT, "", "no input or parameter is called 'v'"},
    {"sgd", NULL, "k", ERR_BLUEPRINT, "", "'k' is no float"},
    {"sgd", NULL, "w x w", ERR_BLUEPRINT, "", "'w' is asked for twice"},
    {"sgd", NULL, "", ERR_BLUEPRINT, "", "no parameters to train"},
};

static void what_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof REFUSALS / sizeof REFUSALS[0]; i++)
        refuse(BLOCK, &REFUSALS[i]);
}

static void names_that_the_block_has_taken(void **state)
{
    (void)state;
    static const char *const taken[][3] = {
        {"step", "sgd", "loss"},
        {"lr", "sgd", "loss"},
        {"m.w", "lion", "loss"},
        {"v.w", "adam", "loss"},
        {"buf.w", "sgd(momentum=0.5)", "loss"},
        {"low.w", "sgd", "loss"},
        {"scale", "sgd(loss_scale=dynamic)", "loss"},
        {"good", "sgd(loss_scale=dynamic)", "loss"},
        {"target", "sgd", "mse_loss(loss)"},
    };
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++) {
        char block[512], words[128];
        snprintf(words, sizeof words, "a step has an input '%s' of its own: rename", taken[i][0]);
        snprintf(block, sizeof block,
                 "graph \"g\"\n%%1 = input \"%s\" : f16[]\n%%2 = param \"w\" : f16[]\n"
                 "%%3 = mul %%1, %%2 : f16[]\noutput \"loss\" %%3\n",
                 taken[i][0]);
        refuse(block, &(struct refusal){taken[i][1], taken[i][2], NULL, ERR_BLUEPRINT, "", words});
    }
    /* a static scale that the loss's type does not hold would never give a gradient */
    refuse("graph \"g\"\n%1 = param \"w\" : f16[]\noutput \"loss\" %1\n",
           &(struct refusal){"sgd(loss_scale=65536)", NULL, NULL, ERR_USAGE, "--step",
                             "'loss_scale' is 65536, and the loss is f16: at most 65504"});
    /* and names that only another step takes */
    struct stepped s;
    stepped_begin(&s,
                  "graph \"g\"\n%1 = input \"m.w\" : f64[]\n%2 = param \"w\" : f64[]\n"
                  "%3 = mul %1, %2 : f64[]\noutput \"new.w\" %3\n",
                  "sgd", "new.w", NULL);
    stepped_release(&s);
}

/* Any text is taken or refused, and never more than that. */
static void random_texts(void **state)
{
    (void)state;
    static const char *const seeds[] = {
        "adamw(weight_decay=0.1, clip_norm=1, schedule=cosine, warmup=10, steps=100)",
        "sgd(momentum=1e308, nesterov=true, loss_scale=dynamic)",
        "cross_entropy(logits, label_smoothing=-inf)",
        "rmsprop(alpha=0x1p-3,eps=nan(7),momentum=9223372036854775807)",
    };
    static const char letters[] = "(),= \t\n=.-+_eE0x9naninf\x80\xff%s'";
    uint64_t key = rng_key(7), at = 0;
    int taken = 0, refused = 0;
    for (int round = 0; round < 40000; round++) {
        char text[256];
        struct arena arena;
        struct step_text parsed;
        struct step_options options;
        struct error err = {0};
        snprintf(text, sizeof text, "%s", seeds[round % 4]);
        size_t size = strlen(text);
        for (uint32_t edits = rng_u32(key, at++) % 4 + 1; edits > 0 && size > 1; edits--) {
            size_t place = rng_u32(key, at++) % size;
            char letter = letters[rng_u32(key, at++) % (sizeof letters - 1)];
            switch (rng_u32(key, at++) % 4) {
            case 0: text[place] = letter; break;
            case 1: text[size = place] = '\0'; break;
            case 2:
                memmove(text + place, text + place + 1, size - place);
                size--;
                break;
            default:
                memmove(text + place + 1, text + place, size - place + 1);
                text[place] = letter;
                size++;
            }
        }
        arena_init(&arena);
        bool ok = step_text_parse(text, &arena, &parsed, &err);
        if (ok) {
            assert_true(parsed.attr_count <= OP_MAX_ATTRS && parsed.name[0] != '\0');
            ok = step_options_take(&parsed, &options, &err);
        }
        if (ok)
            assert_true(options.clip_norm >= 0 && options.floor <= 1 &&
                        isfinite(options.loss_scale) && options.warmup >= 0);
        else
            assert_true(err.code == ERR_USAGE && err.message[0] != '\0');
        taken += ok;
        refused += !ok;
        arena_release(&arena);
    }
    assert_true(taken > 1000 && refused > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_loss_may_be_an_output),
        cmocka_unit_test(a_loss_may_be_an_operation),
        cmocka_unit_test(other_losses_have_targets_as_the_output),
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(names_that_the_block_has_taken),
        cmocka_unit_test(random_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
