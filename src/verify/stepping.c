/* Whether the graph of a whole training step is what the step says of itself (package/step_spec.h):
 * that of these gradients, and of this optimizer.
 *
 * That compiled code computes the graph is judged as for every package. Here the graph is judged,
 * in unrounded float64 and from outside: by what it reads and gives, whatever its nodes are.
 *
 *   1. At one point states are zeros and the rate is large. From what a step changes there, the
 *      optimizer's definition says which gradients it used, and with the norm that it gives, which
 *      they were before they were clipped.
 *   2. These must be those of the output "loss", by forward mode and differences (directions.h).
 *   3. At other points with the same params and inputs, with other states, rates and numbers of
 *      steps, all that the step updates must be what the definitions (optimizers.h) make of these
 *      gradients.
 *   4. With a dynamic scale, a scale that is infinite must leave all as it was, and be halved. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/rng.h"
#include "verify/stepping_priv.h"

#define LARGE_RATE 0x1p20
#define SHARE_F64 1e-9 /* of the magnitude of what is added up */
#define SHARE_F32 1e-6 /* the same where constants of formulas are f32 */
#define WIDE 16        /* the largest of the inputs of a larger range */
#define GOOD_STEPS 2000
#define OVERFLOW 1008 /* the state of a scale that is 2^1024, infinite */
#define NEAR 0x1p-8

enum range { RANGE_NORMAL, RANGE_TAME, RANGE_WIDE };

/* Params are about as large as initial values are; those without many dims are often scales and
 * variances, which are positive. */
static double param_value(const struct interp_tensor *t, bool positive, double normal, double u)
{
    double terms = t->rank > 1 && t->shape[0] > 0 ? (double)(t->count / t->shape[0]) : 0;
    if (t->rank > 1)
        return normal / sqrt(fmax(terms, 1));
    return positive ? 0.5 + u : 2 * u - 0.5;
}

/* Fills the block's inputs and params; those of a larger range are half multiples of 1/2. */
static void draw(struct stepping *s, enum range range)
{
    for (uint32_t i = 0; i < s->step->inputs.count; i++) {
        struct interp_tensor *t = &s->scene.sources[i];
        uint64_t key = rng_key(s->d.v->options->seed * 41 + i);
        bool param = s->is_trained[i] || s->is_frozen[i];
        for (int64_t k = 0; !s->is_own[i] && dtype_is_float(t->dtype) && k < t->count; k++) {
            double x = t->cells[k].f, u = rng_uniform(key, (uint64_t)k);
            if (param)
                x = param_value(t, s->is_frozen[i] || range == RANGE_TAME, x, u);
            else if (range == RANGE_TAME)
                x = 0.1 + 0.8 * u;
            else if (range == RANGE_WIDE)
                x = k % 2 ? nearbyint(2 * WIDE * (2 * u - 1)) / 2 : WIDE * (2 * u - 1);
            t->cells[k].f = dtype_round(t->dtype, x);
        }
    }
}

/* The factor by which the gradients that were found are clipped. */
static double clip(const struct stepping *s)
{
    return clip_factor(s->spec, s->norm, s->narrow);
}

/* What a point has beside the block's inputs and params. */
struct point {
    double lr, number; /* of steps that were made */
    bool states;       /* false: zeros */
    double scale, good;
};

static void put_number(struct stepping *s, uint32_t input, double value)
{
    if (input == NONE)
        return;
    struct interp_tensor *t = &s->scene.sources[input];
    if (dtype_is_float(t->dtype))
        t->cells[0].f = value;
    else
        t->cells[0].i = (int64_t)value;
}

/* Half of the elements of a state beside which the formula jumps are near it, on both sides. */
static double state_value(const struct stepping *s, const struct trained *t, int n, int64_t k,
                          double u)
{
    const struct optimizer *optimizer = s->optimizer;
    double size = pow(fmax(t->size, 1e-100), optimizer->powers[n]);
    if (n == 0 && optimizer->corner && k % 2 == 0)
        return optimizer->corner(s->spec, t->gradient.cells[k].f * clip(s)) *
               (1 + (k % 4 == 0 ? NEAR : -NEAR));
    if (optimizer->powers[n] == 2)
        return (0.5 + u) * (0.5 + u) * size;
    return (k % 3 == 0 ? -0.5 - u : 0.5 + u) * size;
}

static void put_states(struct stepping *s, const struct trained *t, const struct point *point,
                       uint64_t key)
{
    struct interp_tensor *sources = s->scene.sources;
    int64_t count = sources[t->w.input].count;
    for (int64_t k = 0; t->low.input != NONE && k < count; k++)
        sources[t->low.input].cells[k].f =
            point->states ? 0x1p-12 * rng_uniform(key, (uint64_t)k) : 0;
    for (int n = 0; n < OPTIMIZER_STATES; n++)
        for (int64_t k = 0; t->states[n].input != NONE && k < count; k++) {
            double u = rng_uniform(key + 1 + (uint64_t)n, (uint64_t)k);
            sources[t->states[n].input].cells[k].f = point->states ? state_value(s, t, n, k, u) : 0;
        }
}

static void put_own(struct stepping *s, const struct point *point)
{
    put_number(s, s->number.input, point->number);
    put_number(s, s->lr, point->lr);
    put_number(s, s->scale.input, point->scale);
    put_number(s, s->good.input, point->good);
    for (uint32_t i = 0; i < s->spec->trained_count; i++)
        put_states(s, &s->trained[i], point,
                   rng_key(s->d.v->options->seed * 43 + i + (uint64_t)point->number * 97));
}

/* graph: the step, or a part of it with as many outputs. */
static bool run_at(struct stepping *s, const struct graph *graph, const struct point *point)
{
    put_own(s, point);
    return directions_run(&s->d, graph, s->scene.sources, NULL, &s->found);
}

static struct optimizing optimizing_at(const struct stepping *s, const struct point *point,
                                       const struct trained *trained)
{
    double t = point->number + 1;
    return (struct optimizing){s->spec, point->lr * schedule_factor(s->spec, t), t,
                               trained->narrow};
}

static double source_at(const struct stepping *s, struct place place, int64_t k)
{
    return place.input == NONE ? 0 : s->scene.sources[place.input].cells[k].f;
}

static double result_at(const struct stepping *s, struct place place, int64_t k)
{
    return place.output == NONE ? 0 : s->found[place.output].value.cells[k].f;
}

static struct optimized before(const struct stepping *s, const struct trained *t, int64_t k)
{
    return (struct optimized){source_at(s, t->w, k) + source_at(s, t->low, k),
                              {source_at(s, t->states[0], k), source_at(s, t->states[1], k)}};
}

static struct optimized after(const struct stepping *s, const struct trained *t, int64_t k)
{
    return (struct optimized){result_at(s, t->w, k) + result_at(s, t->low, k),
                              {result_at(s, t->states[0], k), result_at(s, t->states[1], k)}};
}

/* The gradients that the step used at this point, before they were clipped, and their norm. */
static void find_gradients(struct stepping *s, const struct point *point)
{
    double norm = s->norm_output == NONE ? 0 : s->found[s->norm_output].value.cells[0].f;
    double square = 0;
    for (uint32_t i = 0; i < s->spec->trained_count; i++) {
        struct trained *t = &s->trained[i];
        const struct interp_tensor *w = &s->scene.sources[t->w.input];
        const struct optimizing o = optimizing_at(s, point, t);
        double sum = 0;
        t->gradient = *w;
        t->gradient.cells = ARENA_ARRAY(s->keep, union cell, (size_t)w->count + 1);
        for (int64_t k = 0; k < w->count; k++) {
            const struct optimized x = after(s, t, k);
            double g = s->optimizer->gradient(&o, w->cells[k].f, &x);
            g /= clip_factor(s->spec, norm, s->narrow);
            t->gradient.cells[k].f = g;
            sum += g * g;
        }
        t->size = w->count > 0 ? sqrt(sum / (double)w->count) : 0;
        square += sum;
    }
    s->norm = sqrt(square);
}

/* Notes how far a number is from what it must be; share: of the magnitude. */
static bool must_be(const char *what, double found, double expected, double most,
                    struct outcome *outcome)
{
    double ratio = found == expected || (isnan(found) && isnan(expected))
                       ? 0
                       : fabs(found - expected) / (most + 1e-300);
    outcome->figure = fmax(outcome->figure, ratio);
    return ratio <= 1 ||
           outcome_fail(outcome, "%s is %.12g, expected %.12g", what, found, expected);
}

/* One element of a param, before and after a step, and what it must be. */
struct judged {
    const struct trained *t;
    struct optimizing o;
    int64_t element;
    double g, share;
    struct optimized was, is, must;
};

/* Where roundings decide the sign that lion takes, nothing is known. */
static bool is_settled(const struct optimizing *o, double g, const struct optimized *x)
{
    if (strcmp(o->spec->optimizer, "lion") != 0)
        return true;
    double beta1 = step_spec_attr(o->spec, "beta1");
    double a = beta1 * x->state[0], b = (1 - beta1) * g;
    return (a == 0 && b == 0) || fabs(a + b) > SHARE_F32 * (fabs(a) + fabs(b));
}

/* The largest change of a param's element at this point: terms of it are about as large. */
static double largest_change(const struct stepping *s, const struct trained *t,
                             const struct optimizing *o, double clipped)
{
    double most = 0;
    for (int64_t k = 0; k < t->gradient.count; k++) {
        struct optimized x = before(s, t, k);
        double w = x.w;
        s->optimizer->apply(o, t->gradient.cells[k].f * clipped, &x);
        most = fmax(most, isfinite(x.w) ? fabs(x.w - w) : 0);
    }
    return most;
}

static bool judge_state(const struct stepping *s, const struct judged *j, int n,
                        struct outcome *outcome)
{
    char what[200];
    const char *name = s->spec->trained[j->t - s->trained];
    double terms = s->optimizer->powers[n] == 1
                       ? fabs(j->g) + step_spec_attr(s->spec, "weight_decay") * fabs(j->was.w)
                       : 0;
    snprintf(what, sizeof what, "after step %.0f '%s.%.100s', element %lld,", j->o.t,
             s->optimizer->states[n], name, (long long)j->element);
    return must_be(what, j->is.state[n], j->must.state[n],
                   j->share * (fabs(j->was.state[n]) + fabs(j->must.state[n]) + terms), outcome);
}

static bool judge_param(struct stepping *s, const struct trained *t, const struct point *point,
                        struct outcome *outcome)
{
    struct judged j = {.t = t, .o = optimizing_at(s, point, t)};
    double clipped = clip(s);
    double change = largest_change(s, t, &j.o, clipped);
    char what[200];
    j.share = t->narrow ? SHARE_F32 : SHARE_F64;
    for (; j.element < t->gradient.count; j.element++) {
        j.g = t->gradient.cells[j.element].f * clipped;
        j.was = j.must = before(s, t, j.element);
        j.is = after(s, t, j.element);
        if (!isfinite(j.g) || !is_settled(&j.o, j.g, &j.was))
            continue;
        s->optimizer->apply(&j.o, j.g, &j.must);
        snprintf(what, sizeof what, "after step %.0f '%.100s', element %lld,", j.o.t,
                 s->spec->trained[t - s->trained], (long long)j.element);
        if (!must_be(what, j.is.w, j.must.w, j.share * (fabs(j.was.w) + fabs(j.must.w) + change),
                     outcome))
            return false;
        for (int n = 0; n < OPTIMIZER_STATES; n++)
            if (t->states[n].output != NONE && !judge_state(s, &j, n, outcome))
                return false;
    }
    return true;
}

static double number_at(const struct stepping *s, struct place place)
{
    const struct interp_tensor *t = &s->found[place.output].value;
    return dtype_is_float(t->dtype) ? t->cells[0].f : (double)t->cells[0].i;
}

/* The step's number, and the states of a dynamic scale where all gradients are finite. */
static bool judge_numbers(struct stepping *s, const struct point *point, struct outcome *outcome)
{
    bool full = point->good + 1 == GOOD_STEPS;
    if (!must_be("the number of steps", number_at(s, s->number), point->number + 1, 0, outcome))
        return false;
    return s->scale.output == NONE ||
           (must_be("'scale'", number_at(s, s->scale), point->scale + full, 0, outcome) &&
            must_be("'good'", number_at(s, s->good), full ? 0 : point->good + 1, 0, outcome));
}

/* The gradients of another step, which has drawn other numbers. */
static bool find_again(struct stepping *s, const struct point *point)
{
    const struct point same = {LARGE_RATE, point->number, false, 0, 0};
    if (!run_at(s, &s->source, &same))
        return false;
    find_gradients(s, &same);
    return true;
}

static bool judge_point(struct stepping *s, const struct point *point, struct outcome *outcome)
{
    if (s->moves && !find_again(s, point))
        return false;
    if (s->moves && schedule_factor(s->spec, point->number + 1) == 0)
        return true;
    if (!run_at(s, s->step, point))
        return false;
    if (!isfinite(s->norm)) /* then nobody knows what is clipped, or skipped */
        return true;
    outcome->ran = true;
    if (s->norm_output != NONE && !must_be("'grad_norm'", s->found[s->norm_output].value.cells[0].f,
                                           s->norm, SHARE_F64 * s->norm, outcome))
        return false;
    for (uint32_t i = 0; i < s->spec->trained_count; i++)
        if (!judge_param(s, &s->trained[i], point, outcome))
            return false;
    return judge_numbers(s, point, outcome);
}

static bool same_as_before(struct stepping *s, struct place place, struct outcome *outcome)
{
    if (place.output == NONE)
        return true;
    const struct interp_tensor *x = &s->scene.sources[place.input];
    const struct interp_tensor *y = &s->found[place.output].value;
    for (int64_t k = 0; k < x->count; k++)
        if (x->cells[k].i != y->cells[k].i)
            return outcome_fail(
                outcome, "'%.100s' changes where gradients are not finite",
                graph_node(s->step, s->step->inputs.items[place.input])->attrs->name);
    return true;
}

/* A scale that is infinite makes gradients that are not finite. */
static bool judge_overflow(struct stepping *s, struct outcome *outcome)
{
    const struct point point = {0.5, 3, true, OVERFLOW, 5};
    if (!s->spec->dynamic_scale || s->norm == 0 || !isfinite(s->norm))
        return true;
    if (!run_at(s, s->step, &point))
        return false;
    for (uint32_t i = 0; i < s->spec->trained_count; i++) {
        const struct trained *t = &s->trained[i];
        if (!same_as_before(s, t->w, outcome) || !same_as_before(s, t->low, outcome) ||
            !same_as_before(s, t->states[0], outcome) || !same_as_before(s, t->states[1], outcome))
            return false;
    }
    for (uint32_t i = 0; i < s->spec->running_count; i++)
        if (!same_as_before(s, s->running[i], outcome))
            return false;
    return same_as_before(s, s->number, outcome) &&
           must_be("'scale'", number_at(s, s->scale), OVERFLOW - 1, 0, outcome) &&
           must_be("'good'", number_at(s, s->good), 0, 0, outcome);
}

/* The first step; in the middle of what the schedule does; and far behind its end. */
static bool judge_optimizer(struct stepping *s, struct outcome *outcome)
{
    const struct step_spec *spec = s->spec;
    double size = 0;
    for (uint32_t i = 0; i < spec->trained_count; i++)
        size = fmax(size, s->trained[i].size * clip(s));
    double lr = isfinite(size) && size > 0 ? 0.5 * pow(size, s->optimizer->rate_power) : 0.5;
    double middle = spec->steps > 0 ? floor((spec->warmup + spec->steps) / 2) : 41;
    const struct point points[] = {
        {lr, floor(spec->warmup / 3), true, -3, 5},
        {lr, middle, true, 800, GOOD_STEPS - 1},
        {lr, fmax(spec->steps, middle) + 7, true, 1, 0},
    };
    for (size_t i = 0; i < sizeof points / sizeof *points; i++)
        if (!judge_point(s, &points[i], outcome))
            return false;
    return judge_overflow(s, outcome);
}

/* Gradients of the loss at this point, whose gradients were found. */
static bool judge_loss(struct stepping *s, struct outcome *outcome)
{
    struct interp_tensor one = {.dtype = DTYPE_F64, .count = 1, .cells = &(union cell){.f = 1}};
    const struct interp_tensor *cotangents[] = {&one};
    const struct interp_tensor **gradients =
        ARENA_ARRAY(s->d.arena, const struct interp_tensor *, s->d.sources + 1);
    const struct tangent_tensor *loss;
    for (uint32_t i = 0; i < s->spec->trained_count; i++)
        gradients[s->trained[i].w.input] = &s->trained[i].gradient;
    s->d.cotangents = cotangents;
    s->d.gradients = gradients;
    if (!directions_run(&s->d, &s->loss, s->scene.sources, NULL, &loss))
        return false;
    s->d.results = loss;
    s->d.finite = isfinite(loss->value.cells[0].f);
    return directions_judge(&s->d, outcome);
}

/* Everything at one size and kind of inputs; the optimizer is judged once. */
static bool judge_in(struct stepping *s, const struct direction_size *at, enum range range,
                     struct outcome *gradients, struct outcome *optimizer)
{
    struct whole whole = {.v = s->d.v, .graph = s->step, .arena = s->d.arena};
    const struct point first = {LARGE_RATE, floor(s->spec->warmup), false, 0, 0};
    if (!scene_make(&s->scene, &whole, at->size.dims,
                    &(struct scene_values){"random", FILL_NORMAL, 7}, &s->d.err) ||
        (s->scene.drawn && !scene_load(&s->scene, &s->d.err)))
        return false;
    s->d.dims = s->scene.sample.dims;
    s->d.values = s->scene.sources;
    s->d.wide = range == RANGE_WIDE;
    s->d.large = at->large;
    draw(s, range);
    if (!run_at(s, &s->source, &first))
        return false;
    find_gradients(s, &first);
    bool more = !optimizer->ran && !is_too_much(s->step, at->size.dims);
    return judge_loss(s, gradients) && (!more || judge_optimizer(s, optimizer));
}

static bool judge_with(struct stepping *s, const struct direction_size *at, enum range range,
                       struct outcome *gradients, struct outcome *optimizer)
{
    struct arena point;
    struct arena *keep = s->keep;
    arena_init(&point);
    s->d.arena = s->keep = &point;
    bool ok = judge_in(s, at, range, gradients, optimizer);
    s->d.arena = s->keep = keep;
    arena_release(&point);
    return ok;
}

static bool judge_all(struct stepping *s, const struct direction_size *at, uint32_t count,
                      struct verification *v)
{
    struct outcome *gradients = &v->result.gradients, *optimizer = &v->result.optimizer;
    bool ok = true;
    for (uint32_t i = 0; ok && i < count; i++)
        ok = judge_with(s, &at[i], RANGE_NORMAL, gradients, optimizer);
    for (uint32_t i = 0; ok && !(gradients->ran && optimizer->ran) && i < count; i++)
        ok = judge_with(s, &at[i], RANGE_TAME, gradients, optimizer);
    for (uint32_t i = 0; ok && i < count; i++)
        ok = at[i].large || judge_with(s, &at[i], RANGE_WIDE, gradients, optimizer);
    return ok;
}

static void conclude(struct outcome *outcome, const char *detail)
{
    snprintf(outcome->detail, sizeof outcome->detail, "%s", detail);
    outcome->ran = outcome->pass = true;
}

static void describe(const struct stepping *s, const struct direction_size *at, uint32_t count,
                     struct verification *v)
{
    char text[DETAIL_BYTES];
    directions_describe(&s->d, at, count, "the step", &v->result.gradients);
    v->result.gradients.ran = v->result.gradients.pass = true;
    snprintf(text, sizeof text, "%s%s%s%s, by definition", s->spec->optimizer,
             strcmp(s->spec->schedule, "constant") != 0 || s->spec->warmup > 0 ? ", schedule" : "",
             s->spec->clip_norm > 0 ? ", clipping" : "",
             s->spec->dynamic_scale ? ", dynamic scale" : "");
    bool large = count == 0 || is_too_much(s->step, at[0].size.dims);
    conclude(&v->result.optimizer, v->result.optimizer.ran ? text
                                   : large                 ? "not judged: the step is too large"
                                           : "not judged: no finite gradients were met");
}

void judge_step(struct verification *v)
{
    struct arena arena;
    struct direction_size at[DIRECTION_SIZES];
    struct outcome *outcomes[] = {&v->result.gradients, &v->result.optimizer};
    struct stepping s = {.spec = v->spec, .step = &v->contents->graph, .keep = &arena};
    arena_init(&arena);
    s.optimizer = optimizer_find(v->spec->optimizer);
    s.d = (struct directions){.v = v, .arena = &arena, .graph = &s.loss};
    s.d.sources = s.step->inputs.count + s.step->params.count;
    outcomes[0]->bound = outcomes[1]->bound = 1;
    snprintf(v->result.stage, STAGE_BYTES, "the training step");
    uint32_t count = 0;
    bool known = s.optimizer != NULL, ok = known && stepping_find(&s);
    if (ok) {
        directions_begin(&s.d, s.is_trained);
        ok = directions_sizes(&s.d, &s.source, at, &count);
    }
    ok = ok && judge_all(&s, at, count, v);
    for (int i = 0; i < 2 && !known; i++)
        conclude(outcomes[i], "not judged: the optimizer has no definition here");
    if (ok)
        describe(&s, at, count, v);
    bool failed = outcomes[0]->detail[0] != '\0' || outcomes[1]->detail[0] != '\0';
    for (int i = 0; i < 2 && known && !ok; i++)
        if (outcomes[i]->detail[0] == '\0')
            outcome_fail(outcomes[i], "%s%s",
                         failed ? "not run: another check failed first" : "cannot be judged: ",
                         failed ? "" : s.d.err.message);
    arena_release(&arena);
}
