/* The texts of a step: an operation with attributes. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "compiler/step/step_priv.h"

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == '-' || c == '+';
}

static const char *skip(const char *at)
{
    return at + strspn(at, " \t\n");
}

/* NULL: there is no word. */
static const char *word(const char **at, struct arena *arena)
{
    size_t size = 0;
    *at = skip(*at);
    while (is_word((*at)[size]))
        size++;
    const char *text = size > 0 ? arena_strndup(arena, *at, size) : NULL;
    *at = skip(*at + size);
    return text;
}

static struct op_value value_of(const char *name, const char *text)
{
    struct op_value value = {.name = name, .kind = OP_TEXT, .text = text};
    char *end;
    if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0) {
        value.kind = OP_BOOL;
        value.i = text[0] == 't';
        return value;
    }
    double number = strtod(text, &end);
    if (*end != '\0' || end == text || !isfinite(number))
        return value;
    value.kind = OP_FLOAT;
    value.f = number;
    if (fabs(number) <= 1e15 && !strpbrk(text, ".eExX")) {
        value.kind = OP_INT;
        value.i = (int64_t)number;
    }
    return value;
}

static bool parse_item(const char **at, struct arena *arena, struct step_text *out,
                       struct error *err)
{
    const char *first = word(at, arena), *second;
    if (!first)
        return fail(err, ERR_USAGE, "expected a word at '%.20s'", *at);
    if (**at != '=') {
        if (out->operand)
            return fail(err, ERR_USAGE, "'%.64s' and '%.64s': at most one operand", out->operand,
                        first);
        out->operand = first;
        return true;
    }
    ++*at;
    if (!(second = word(at, arena)))
        return fail(err, ERR_USAGE, "'%.64s' has no value", first);
    for (uint32_t i = 0; i < out->attr_count; i++)
        if (strcmp(out->attrs[i].name, first) == 0)
            return fail(err, ERR_USAGE, "'%.64s' is given twice", first);
    if (out->attr_count == OP_MAX_ATTRS)
        return fail(err, ERR_USAGE, "more than %d attributes", OP_MAX_ATTRS);
    out->attrs[out->attr_count++] = value_of(first, second);
    return true;
}

bool step_text_parse(const char *at, struct arena *arena, struct step_text *out, struct error *err)
{
    *out = (struct step_text){.name = word(&at, arena)};
    if (!out->name)
        return fail(err, ERR_USAGE, "expected a name at '%.20s'", at);
    bool begun = *at == '(', open = begun;
    while (open) {
        at = skip(at + 1);
        if (out->attr_count == 0 && !out->operand && *at == ')')
            break;
        if (!parse_item(&at, arena, out, err))
            return false;
        if (*at != ',' && *at != ')')
            return fail(err, ERR_USAGE, "expected ',' or ')' at '%.20s'", at);
        open = *at == ',';
    }
    if (begun && *at == ')')
        at = skip(at + 1);
    return *at == '\0' || fail(err, ERR_USAGE, "expected '(' or the end at '%.20s'", at);
}

const struct op_value *step_text_take(struct step_text *text, const char *name)
{
    for (uint32_t i = 0; i < text->attr_count; i++) {
        if (strcmp(text->attrs[i].name, name) != 0)
            continue;
        struct op_value taken = text->attrs[i];
        memmove(&text->attrs[i], &text->attrs[i + 1],
                (text->attr_count - i - 1) * sizeof text->attrs[0]);
        text->attrs[--text->attr_count] = taken; /* behind the others */
        return &text->attrs[text->attr_count];
    }
    return NULL;
}

/* A number ≥ least; as it was where the text has none. */
static bool take_number(struct step_text *text, const char *name, double least, double *out,
                        struct error *err)
{
    const struct op_value *value = step_text_take(text, name);
    if (!value)
        return true;
    *out = value->kind == OP_INT ? (double)value->i : value->f;
    bool number = value->kind == OP_INT || value->kind == OP_FLOAT;
    return (number && *out >= least && *out < 1e18) ||
           fail(err, ERR_USAGE, "'%s' is no number from %g on", name, least);
}

/* A factor that f32 holds with all its digits; as take_number. what: what it may be. */
static bool take_factor(struct step_text *text, const char *name, const char *what, double *out,
                        struct error *err)
{
    const struct op_value *value = step_text_take(text, name);
    if (!value)
        return true;
    *out = value->kind == OP_INT ? (double)value->i : value->f;
    bool number = value->kind == OP_INT || value->kind == OP_FLOAT;
    return (number && *out >= (double)FLT_MIN && *out <= (double)FLT_MAX) ||
           fail(err, ERR_USAGE, "'%s' is a number above 0 in the range of f32%s", name, what);
}

static bool take_schedule(struct step_text *text, struct step_options *out, struct error *err)
{
    static const char *const names[] = {"constant", "linear", "cosine"};
    const struct op_value *value = step_text_take(text, "schedule");
    const char *given = value && value->kind == OP_TEXT ? value->text : "";
    for (int i = 0; i <= SCHEDULE_COSINE; i++)
        if (value && strcmp(names[i], given) == 0)
            out->schedule = (enum schedule)i;
    if (value && strcmp(names[out->schedule], given) != 0)
        return fail(err, ERR_USAGE, "'schedule' is constant, linear or cosine");
    if (!take_number(text, "warmup", 0, &out->warmup, err) ||
        !take_number(text, "steps", 1, &out->steps, err) ||
        !take_number(text, "floor", 0, &out->floor, err))
        return false;
    if (out->schedule == SCHEDULE_CONSTANT && (out->steps > 0 || out->floor > 0))
        return fail(err, ERR_USAGE, "'steps' and 'floor' go with schedule=linear or cosine");
    if (out->schedule != SCHEDULE_CONSTANT && out->steps <= out->warmup)
        return fail(err, ERR_USAGE, "schedule=%s needs 'steps', more than 'warmup'",
                    names[out->schedule]);
    return out->floor <= 1 || fail(err, ERR_USAGE, "'floor' is above 1");
}

bool step_options_take(struct step_text *text, struct step_options *out, struct error *err)
{
    *out = (struct step_options){.schedule = SCHEDULE_CONSTANT};
    for (uint32_t i = 0; i < text->attr_count; i++)
        out->dynamic_scale |= strcmp(text->attrs[i].name, "loss_scale") == 0 &&
                              text->attrs[i].kind == OP_TEXT &&
                              strcmp(text->attrs[i].text, "dynamic") == 0;
    if (out->dynamic_scale)
        step_text_take(text, "loss_scale");
    return take_factor(text, "loss_scale", ", or dynamic", &out->loss_scale, err) &&
           take_factor(text, "clip_norm", "", &out->clip_norm, err) &&
           take_schedule(text, out, err);
}
