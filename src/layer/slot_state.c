/* A slot's state as text, one "key=value" a line, in a fixed order. Doubles are written as the 16
 * hexadecimal digits of their bits, so nothing is lost, and no locale matters. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "base/cpu.h"
#include "layer/slot_priv.h"

#define HEAD "urza.slot/1"
#define COUNT_MOST ((uint64_t)1 << 53)
#define REAL_MOST 1e151 /* more than a detector takes in */

/* Writes, or reads, all fields in one order: so there is one list of them. */
struct text {
    struct bounded_text out;
    const char *from; /* read; NULL: writes */
    struct error *err;
    bool ok;
};

/* The value of the next line, which must be of this key; its end is at *out_end. NULL: failed. */
static const char *take(struct text *t, const char *key, const char **out_end)
{
    size_t length = strlen(key);
    const char *end = t->ok ? strchr(t->from, '\n') : NULL;
    if (t->ok && (!end || strncmp(t->from, key, length) != 0 || t->from[length] != '='))
        t->ok = fail(t->err, ERR_INPUT, "what was saved lacks '%s' at its place", key);
    if (!t->ok)
        return NULL;
    const char *value = t->from + length + 1;
    *out_end = end;
    t->from = end + 1;
    return value;
}

static bool damaged(struct text *t, const char *key)
{
    t->ok = fail(t->err, ERR_INPUT, "'%s' of what was saved is damaged", key);
    return false;
}

static void text_field(struct text *t, const char *key, char *value, size_t room)
{
    const char *end;
    if (!t->from) {
        text_put(&t->out, "%s=%s\n", key, value);
        return;
    }
    const char *at = take(t, key, &end);
    if (at && (size_t)(end - at) >= room)
        damaged(t, key);
    else if (at)
        snprintf(value, room, "%.*s", (int)(end - at), at);
}

static void number_field(struct text *t, const char *key, uint64_t *value, uint64_t most)
{
    const char *end;
    char *after;
    if (!t->from) {
        text_put(&t->out, "%s=%" PRIu64 "\n", key, *value);
        return;
    }
    const char *at = take(t, key, &end);
    if (!at)
        return;
    unsigned long long number = strtoull(at, &after, 10);
    if (*at < '0' || *at > '9' || after != end || number > most || number == UINT64_MAX)
        damaged(t, key);
    else
        *value = number;
}

static void small_field(struct text *t, const char *key, uint32_t *value, uint32_t most)
{
    uint64_t wide = *value;
    number_field(t, key, &wide, most);
    *value = (uint32_t)wide;
}

static void real_field(struct text *t, const char *key, double *value)
{
    const char *end;
    uint64_t bits = 0;
    double number;
    if (!t->from) {
        memcpy(&bits, value, sizeof bits);
        text_put(&t->out, "%s=%016" PRIx64 "\n", key, bits);
        return;
    }
    const char *at = take(t, key, &end);
    if (!at)
        return;
    bool ok = end - at == 16;
    for (const char *c = at; ok && c < end; c++) {
        const char *digits = "0123456789abcdef", *found = strchr(digits, *c);
        ok = *c != '\0' && found != NULL;
        bits = bits << 4 | (uint64_t)(ok ? found - digits : 0);
    }
    memcpy(&number, &bits, sizeof number);
    if (!ok || !isfinite(number))
        damaged(t, key);
    else
        *value = number;
}

static void command_fields(struct text *t, urza_command *c)
{
    uint32_t kind = (uint32_t)c->kind, curve = (uint32_t)c->curve;
    small_field(t, "command", &kind, URZA_COMMAND_FOSSILIZE);
    small_field(t, "ticks", &c->ticks, UINT32_MAX - 1);
    real_field(t, "target", &c->target);
    small_field(t, "curve", &curve, URZA_SIGMOID);
    c->kind = (urza_command_kind)kind;
    c->curve = (urza_curve)curve;
}

static void machine_fields(struct text *t, struct machine *m)
{
    number_field(t, "tick", &m->tick, UINT64_MAX);
    number_field(t, "since", &m->since, UINT64_MAX);
    small_field(t, "state", &m->state, URZA_RESETTING);
    small_field(t, "seed_number", &m->seed, UINT32_MAX);
    small_field(t, "faults", &m->faults, UINT32_MAX);
    small_field(t, "gains", &m->gains, UINT32_MAX);
    real_field(t, "alpha", &m->alpha);
    real_field(t, "ramp_from", &m->ramp.from);
    real_field(t, "ramp_to", &m->ramp.to);
    number_field(t, "ramp_begin", &m->ramp.begin, UINT64_MAX);
    small_field(t, "ramp_ticks", &m->ramp.ticks, UINT32_MAX);
    small_field(t, "ramp_curve", &m->ramp.curve, URZA_SIGMOID);
    real_field(t, "gradient_mean", &m->gradient.mean);
    real_field(t, "gradient_variance", &m->gradient.variance);
    number_field(t, "gradient_count", &m->gradient.count, UINT64_MAX);
    small_field(t, "gradient_strikes", &m->gradient.strikes, UINT32_MAX);
    small_field(t, "commands", &m->waiting, COMMANDS_MOST);
    for (uint32_t i = 0; t->ok && i < m->waiting; i++)
        command_fields(t, &m->commands[i]);
}

/* What calls left for the next tick. */
struct pending {
    uint32_t trial, faults;
    uint64_t norms;
    double squares;
};

static void pending_fields(struct text *t, struct pending *p)
{
    small_field(t, "trial", &p->trial, TRIAL_FAILED);
    small_field(t, "new_faults", &p->faults, UINT32_MAX);
    number_field(t, "new_gradients", &p->norms, UINT64_MAX);
    real_field(t, "new_squares", &p->squares);
}

struct saved {
    char head[32], slot[512], seed[SEED_NAME_BYTES], end[8];
    struct machine machine;
    struct pending pending;
};

static void all_fields(struct text *t, struct saved *s)
{
    text_field(t, "format", s->head, sizeof s->head);
    text_field(t, "slot", s->slot, sizeof s->slot);
    text_field(t, "seed", s->seed, sizeof s->seed);
    machine_fields(t, &s->machine);
    pending_fields(t, &s->pending);
    text_field(t, "end", s->end, sizeof s->end);
}

static struct pending pending_of(const struct urza_slot *slot)
{
    uint32_t trial = atomic_load(&slot->trial);
    uint64_t bits = atomic_load(&slot->square_bits);
    struct pending out = {.trial = trial == TRIAL_RUNS ? TRIAL_NONE : trial,
                          .faults = atomic_load(&slot->faults),
                          .norms = atomic_load(&slot->norms)};
    memcpy(&out.squares, &bits, sizeof bits);
    return out;
}

static size_t write_state(const struct urza_slot *slot, const struct pending *pending, char *text,
                          size_t room)
{
    struct saved s = {.head = HEAD, .machine = slot->machine, .pending = *pending};
    struct text t = {.out = {text, text ? room : 0, 0}, .ok = true};
    snprintf(s.slot, sizeof s.slot, "%s", slot->options.name);
    memcpy(s.seed, slot->seed_name, sizeof s.seed);
    all_fields(&t, &s);
    return t.out.size;
}

URZA_EXPORT size_t urza_slot_save(const urza_slot *slot, char *text, size_t room)
{
    const struct pending pending = slot ? pending_of(slot) : (struct pending){0};
    return slot ? write_state(slot, &pending, text, room) : 0;
}

URZA_EXPORT size_t urza_slot_decision(const urza_slot *slot, char *text, size_t room)
{
    static const struct pending none;
    return slot ? write_state(slot, &none, text, room) : 0;
}

static bool is_planted(uint32_t state)
{
    return state >= URZA_GERMINATED && state <= URZA_FOSSILIZED;
}

/* What no slot can have come to. */
static bool check(const struct saved *s, struct error *err)
{
    const struct machine *m = &s->machine;
    bool ok = m->tick <= COUNT_MOST && m->gradient.count <= COUNT_MOST &&
              s->pending.norms <= COUNT_MOST && fabs(m->gradient.mean) < REAL_MOST &&
              m->gradient.variance < REAL_MOST * REAL_MOST && s->pending.trial != TRIAL_RUNS &&
              m->since <= m->tick && m->alpha >= 0 && m->alpha <= 1 && m->ramp.from >= 0 &&
              m->ramp.from <= 1 && m->ramp.to >= 0 && m->ramp.to <= 1 && m->ramp.begin <= m->tick &&
              m->gradient.variance >= 0 && s->pending.squares >= 0 &&
              (state_blends(m->state) || m->alpha == 0) &&
              (m->state != URZA_BLENDING || m->ramp.ticks > 0) &&
              (m->state != URZA_FOSSILIZED || m->alpha == 1);
    for (uint32_t i = 0; i < m->waiting; i++)
        ok = ok && m->commands[i].target >= 0 && m->commands[i].target <= 1;
    return ok || fail(err, ERR_INPUT, "what was saved is damaged");
}

static bool read_state(const struct urza_slot *slot, const char *text, struct saved *out,
                       struct error *err)
{
    struct text t = {.from = text, .err = err, .ok = true};
    *out = (struct saved){.head = ""};
    all_fields(&t, out);
    if (!t.ok)
        return false;
    if (strcmp(out->head, HEAD) != 0)
        return fail(err, ERR_INPUT, "what was saved is '%s', expected " HEAD, out->head);
    if (*t.from)
        return fail(err, ERR_INPUT, "what was saved goes on behind its end");
    if (strcmp(out->slot, slot->options.name) != 0)
        return fail(err, ERR_INPUT, "what was saved is of slot '%s', not of '%s'", out->slot,
                    slot->options.name);
    if (is_planted(out->machine.state) &&
        (!is_planted(slot->machine.state) || strcmp(out->seed, slot->seed_name) != 0))
        return fail(err, ERR_INPUT, "what was saved has seed '%s': plant it first", out->seed);
    return check(out, err);
}

static void adopt(struct urza_slot *slot, const struct saved *s)
{
    uint64_t bits;
    memcpy(&bits, &s->pending.squares, sizeof bits);
    slot->machine = s->machine;
    memcpy(slot->seed_name, s->seed, sizeof slot->seed_name);
    slot_settle(slot);
    atomic_store(&slot->trial, s->pending.trial);
    atomic_store(&slot->faults, s->pending.faults);
    atomic_store(&slot->norms, s->pending.norms);
    atomic_store(&slot->square_bits, bits);
}

static void tell(struct urza_slot *slot, urza_slot_event_kind kind, uint32_t from,
                 const char *reason)
{
    urza_slot_event event = {.kind = kind,
                             .from = (urza_slot_state)from,
                             .to = (urza_slot_state)slot->machine.state,
                             .seed = slot->machine.seed,
                             .tick = slot->machine.tick,
                             .count = 1};
    snprintf(event.reason, sizeof event.reason, "%s", reason);
    event_add(&slot->ring, &event);
}

static int take_over(urza_slot *slot, const char *text, bool restores, urza_error *err)
{
    struct error e;
    struct saved s;
    if (!slot || !text)
        return public_result(fail(&e, ERR_USAGE, "an argument is NULL"), &e, err);
    if (!read_state(slot, text, &s, &e))
        return public_result(false, &e, err);
    uint32_t from = slot->machine.state;
    struct cpu_fp before;
    cpu_fp_begin(&before);
    adopt(slot, &s);
    cpu_fp_end(&before);
    if (slot_lacks_module(slot))
        slot_warn(slot, URZA_EVENT_FAULT, slot->machine.state, "the seed's module",
                  "it is not there yet: calls give h until it is supplied");
    if (restores)
        tell(slot, URZA_EVENT_RESTORED, slot->machine.state, "restored");
    else if (from != slot->machine.state)
        tell(slot, URZA_EVENT_STATE, from, "another rank decided");
    return 0;
}

URZA_EXPORT int urza_slot_restore(urza_slot *slot, const char *text, urza_error *err)
{
    return take_over(slot, text, true, err);
}

URZA_EXPORT int urza_slot_apply(urza_slot *slot, const char *text, urza_error *err)
{
    return take_over(slot, text, false, err);
}
