#include "verify/optimizers.h"

#include <math.h>
#include <string.h>

#define PI 3.14159265358979323846

static double attr(const struct optimizing *o, const char *name)
{
    return step_spec_attr(o->spec, name);
}

/* A number as it is in a formula of the param's type. */
static double held(const struct optimizing *o, double x)
{
    return o->narrow ? (double)(float)x : x;
}

static double decay(const struct optimizing *o)
{
    return held(o, attr(o, "weight_decay"));
}

/* torch.optim.SGD, _single_tensor_sgd, without dampening; a buffer of zeros becomes the gradient,
 * as PyTorch's first one does. */
static void sgd(const struct optimizing *o, double g, struct optimized *x)
{
    double momentum = attr(o, "momentum"), move = g + attr(o, "weight_decay") * x->w;
    if (momentum != 0) {
        double d = move;
        x->state[0] = momentum * x->state[0] + d;
        move = attr(o, "nesterov") != 0 ? d + momentum * x->state[0] : x->state[0];
    }
    x->w -= o->rate * move;
}

static double sgd_gradient(const struct optimizing *o, double w, const struct optimized *after)
{
    double move = attr(o, "momentum") != 0 ? after->state[0] : (w - after->w) / o->rate;
    return move - decay(o) * w;
}

/* torch.optim.Adam and AdamW, _single_tensor_adam, without amsgrad */
static void adam_with(const struct optimizing *o, double g, struct optimized *x)
{
    double beta1 = attr(o, "beta1"), beta2 = attr(o, "beta2");
    x->state[0] = beta1 * x->state[0] + (1 - beta1) * g;
    x->state[1] = beta2 * x->state[1] + (1 - beta2) * g * g;
    double bias1 = 1 - pow(beta1, o->t), bias2 = 1 - pow(beta2, o->t);
    double size = sqrt(x->state[1]) / sqrt(bias2) + attr(o, "eps");
    x->w -= o->rate / bias1 * x->state[0] / size;
}

static void adam(const struct optimizing *o, double g, struct optimized *x)
{
    adam_with(o, g + attr(o, "weight_decay") * x->w, x);
}

static void adamw(const struct optimizing *o, double g, struct optimized *x)
{
    x->w *= 1 - o->rate * attr(o, "weight_decay");
    adam_with(o, g, x);
}

static double adamw_gradient(const struct optimizing *o, double w, const struct optimized *after)
{
    (void)w;
    return after->state[0] / held(o, 1 - attr(o, "beta1"));
}

static double adam_gradient(const struct optimizing *o, double w, const struct optimized *after)
{
    return adamw_gradient(o, w, after) - decay(o) * w;
}

/* Lion: the sign of an interpolation, and decay apart from it */
static void lion(const struct optimizing *o, double g, struct optimized *x)
{
    double beta1 = attr(o, "beta1"), beta2 = attr(o, "beta2");
    double c = beta1 * x->state[0] + (1 - beta1) * g;
    x->w -= o->rate * ((double)((c > 0) - (c < 0)) + attr(o, "weight_decay") * x->w);
    x->state[0] = beta2 * x->state[0] + (1 - beta2) * g;
}

static double lion_gradient(const struct optimizing *o, double w, const struct optimized *after)
{
    (void)w;
    return after->state[0] / held(o, 1 - attr(o, "beta2"));
}

/* Where the sign turns. */
static double lion_corner(const struct step_spec *spec, double g)
{
    double beta1 = step_spec_attr(spec, "beta1");
    return beta1 > 0 ? -(1 - beta1) / beta1 * g : 0;
}

/* torch.optim.RMSprop, _single_tensor_rmsprop, not centered */
static void rmsprop(const struct optimizing *o, double g, struct optimized *x)
{
    double alpha = attr(o, "alpha"), momentum = attr(o, "momentum");
    g += attr(o, "weight_decay") * x->w;
    x->state[0] = alpha * x->state[0] + (1 - alpha) * g * g;
    double move = g / (sqrt(x->state[0]) + attr(o, "eps"));
    if (momentum != 0)
        move = x->state[1] = momentum * x->state[1] + move;
    x->w -= o->rate * move;
}

/* A mean of squares that is 0 has only zeros in it. */
static double rmsprop_gradient(const struct optimizing *o, double w, const struct optimized *after)
{
    double move = attr(o, "momentum") != 0 ? after->state[1] : (w - after->w) / o->rate;
    double size = sqrt(after->state[0]) + held(o, attr(o, "eps"));
    return (after->state[0] == 0 ? 0 : move * size) - decay(o) * w;
}

/* clang-format off */
static const struct optimizer optimizers[] = {
    {"sgd", {"buf"}, {1}, -1, sgd, sgd_gradient, true, 1, NULL},
    {"adam", {"m", "v"}, {1, 2}, 0, adam, adam_gradient, false, 1, NULL},
    {"adamw", {"m", "v"}, {1, 2}, 0, adamw, adamw_gradient, false, 1, NULL},
    {"lion", {"m"}, {1}, 0, lion, lion_gradient, false, 1, lion_corner},
    {"rmsprop", {"v", "buf"}, {2, 0}, 0, rmsprop, rmsprop_gradient, true, 3, NULL},
};
/* clang-format on */

const struct optimizer *optimizer_find(const char *name)
{
    for (size_t i = 0; i < sizeof optimizers / sizeof *optimizers; i++)
        if (strcmp(optimizers[i].name, name) == 0)
            return &optimizers[i];
    return NULL;
}

double schedule_factor(const struct step_spec *spec, double t)
{
    double factor = 1, done = (t - 1 - spec->warmup) / (spec->steps - spec->warmup);
    done = fmin(fmax(done, 0), 1);
    if (strcmp(spec->schedule, "linear") == 0)
        factor = 1 - done;
    if (strcmp(spec->schedule, "cosine") == 0)
        factor = (1 + cos(PI * done)) / 2;
    if (strcmp(spec->schedule, "constant") != 0)
        factor = spec->floor + (1 - spec->floor) * factor;
    return spec->warmup > 0 && t < spec->warmup ? factor * t / spec->warmup : factor;
}

double clip_factor(const struct step_spec *spec, double norm, bool narrow)
{
    double most = narrow ? (double)(float)spec->clip_norm : spec->clip_norm;
    double least = narrow ? (double)1e-6f : 1e-6;
    return spec->clip_norm == 0 ? 1 : fmin(most / (norm + least), 1);
}
