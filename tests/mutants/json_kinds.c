/* Attributes that the compiler reads wrongly; the package keeps the right blueprint and graph. */
#include <string.h>

#include "mutants.h"

#define KIND(name, stage, how, function, flags, damage) how##_damage function;
#include "kinds.def"
#undef KIND

/* A boolean attribute, false where it is not given unless it is by default. */
static void flip(struct mutation *m, const char *op, json_t *attrs, const char *name, bool usual)
{
    const json_t *now = json_object_get(attrs, name);
    bool value = now ? json_is_true(now) : usual;
    if (mutation_here(m, "%s: %s", op, name))
        json_object_set_new(attrs, name, json_boolean(!value));
}

static void scale(struct mutation *m, const char *op, json_t *attrs, const char *name, double by)
{
    double value = json_number_value(json_object_get(attrs, name));
    if (value != 0 && mutation_here(m, "%s: %s", op, name))
        json_object_set_new(attrs, name, json_real(value * by));
}

void json_epsilon(struct mutation *m, const char *op, json_t *attrs)
{
    scale(m, op, attrs, "eps", 10);
}

void json_slope(struct mutation *m, const char *op, json_t *attrs)
{
    scale(m, op, attrs, "negative_slope", 1.001);
}

void json_count_pad(struct mutation *m, const char *op, json_t *attrs)
{
    if (strncmp(op, "avg_pool", 8) == 0)
        flip(m, op, attrs, "count_include_pad", true);
}

void json_ceil_mode(struct mutation *m, const char *op, json_t *attrs)
{
    if (strncmp(op, "avg_pool", 8) == 0 || strncmp(op, "max_pool", 8) == 0)
        flip(m, op, attrs, "ceil_mode", false);
}

void json_causal(struct mutation *m, const char *op, json_t *attrs)
{
    if (strstr(op, "attention"))
        flip(m, op, attrs, "is_causal", false);
}

void json_heads(struct mutation *m, const char *op, json_t *attrs)
{
    json_int_t heads = json_integer_value(json_object_get(attrs, "num_heads"));
    if (heads > 1 && heads % 2 == 0 && mutation_here(m, "%s: num_heads", op))
        json_object_set_new(attrs, "num_heads", json_integer(heads / 2));
}

void json_norm_groups(struct mutation *m, const char *op, json_t *attrs)
{
    json_int_t groups = json_integer_value(json_object_get(attrs, "num_groups"));
    if (groups > 0 && mutation_here(m, "%s: num_groups", op))
        json_object_set_new(attrs, "num_groups",
                            json_integer(groups % 2 ? 2 * groups : groups / 2));
}

void json_gelu(struct mutation *m, const char *op, json_t *attrs)
{
    const char *now = json_string_value(json_object_get(attrs, "approximate"));
    bool tanh = now && strcmp(now, "tanh") == 0;
    if (strcmp(op, "gelu") == 0 && mutation_here(m, "gelu: approximate"))
        json_object_set_new(attrs, "approximate", json_string(tanh ? "none" : "tanh"));
}

/* Of operations whose result has the same shape whatever the dim. */
void json_dim(struct mutation *m, const char *op, json_t *attrs)
{
    static const char *const ops[] = {"softmax", "log_softmax", "argsort",
                                      "cumsum",  "cumprod",     "softmin"};
    json_t *dim = json_object_get(attrs, "dim");
    for (size_t i = 0; dim && i < sizeof ops / sizeof ops[0]; i++)
        if (strcmp(op, ops[i]) == 0 && json_integer_value(dim) != 0 &&
            mutation_here(m, "%s: dim", op))
            json_object_set_new(attrs, "dim", json_integer(0));
}

void json_rounding(struct mutation *m, const char *op, json_t *attrs)
{
    const char *now = json_string_value(json_object_get(attrs, "rounding_mode"));
    if (now && mutation_here(m, "%s: rounding_mode", op))
        json_object_set_new(attrs, "rounding_mode",
                            json_string(strcmp(now, "trunc") == 0 ? "floor" : "trunc"));
}

void json_pad_value(struct mutation *m, const char *op, json_t *attrs)
{
    if (strcmp(op, "pad") == 0 && mutation_here(m, "pad: value"))
        json_object_set_new(attrs, "value", json_real(0.25));
}

/* Padding and dilation of a window that hides the mistake: 2 and 2 of a window of 3 is 1 and 1. */
void json_dilation(struct mutation *m, const char *op, json_t *attrs)
{
    json_int_t dilation = json_integer_value(json_object_get(attrs, "dilation")),
               padding = json_integer_value(json_object_get(attrs, "padding"));
    if (dilation == 2 && padding == 2 && mutation_here(m, "%s: dilation and padding", op)) {
        json_object_set_new(attrs, "dilation", json_integer(1));
        json_object_set_new(attrs, "padding", json_integer(1));
    }
}

void json_largest(struct mutation *m, const char *op, json_t *attrs)
{
    if (strncmp(op, "topk", 4) == 0)
        flip(m, op, attrs, "largest", true);
}
