/* Opening, planting, ticking. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "base/cpu.h"
#include "layer/slot_priv.h"
#include "package/graft_spec.h"

static const urza_slot_options defaults = {.germinate_ticks = 1000,
                                           .train_ticks = 100,
                                           .blend_ticks = 100,
                                           .hold_ticks = 10,
                                           .embargo_ticks = 5,
                                           .faults_most = 3,
                                           .gradient_ratio = 0.10};

URZA_EXPORT const char *urza_slot_state_name(urza_slot_state state)
{
    static const char *const names[] = {"DORMANT",  "GERMINATED", "TRAINING",
                                        "BLENDING", "HOLDING",    "FOSSILIZED",
                                        "PRUNED",   "EMBARGOED",  "RESETTING"};
    return (uint32_t)state < sizeof names / sizeof *names ? names[state] : "?";
}

#define NAME_MOST 255

/* The published word: alpha's bits, the seed, whether gradients pass, the state. */
#define STATE_BITS 8
#define THROUGH_BIT 8
#define SEED_SHIFT 16
#define ALPHA_SHIFT 32

struct published slot_published(const struct urza_slot *slot)
{
    uint64_t word = atomic_load_explicit(&slot->published, memory_order_acquire);
    uint32_t alpha = (uint32_t)(word >> ALPHA_SHIFT);
    struct published out = {.state = (uint32_t)(word & ((1u << STATE_BITS) - 1)),
                            .seed = (uint16_t)(word >> SEED_SHIFT),
                            .through = (word >> THROUGH_BIT) & 1};
    memcpy(&out.alpha, &alpha, sizeof alpha);
    return out;
}

void slot_publish(struct urza_slot *slot)
{
    const struct machine *m = &slot->machine;
    float alpha = (float)m->alpha;
    uint32_t bits;
    memcpy(&bits, &alpha, sizeof bits);
    atomic_store(&slot->tick_seen, m->tick);
    atomic_store(&slot->seed_seen, m->seed);
    bool through = slot->options.through || m->state == URZA_HOLDING || m->state == URZA_FOSSILIZED;
    atomic_store_explicit(&slot->published,
                          (uint64_t)bits << ALPHA_SHIFT |
                              (uint64_t)(uint16_t)m->seed << SEED_SHIFT |
                              (uint64_t)through << THROUGH_BIT | m->state,
                          memory_order_release);
}

/* The sum of squares is a double in a word. */
static double take_squares(struct urza_slot *slot)
{
    uint64_t bits = atomic_exchange(&slot->square_bits, 0);
    double sum;
    memcpy(&sum, &bits, sizeof sum);
    return sum;
}

void slot_add_gradient(struct urza_slot *slot, double squares)
{
    uint64_t old = atomic_load(&slot->square_bits), bits;
    do {
        double sum;
        memcpy(&sum, &old, sizeof sum);
        sum += squares;
        memcpy(&bits, &sum, sizeof bits);
    } while (!atomic_compare_exchange_weak(&slot->square_bits, &old, bits));
    atomic_fetch_add(&slot->norms, 1);
}

void slot_warn(struct urza_slot *slot, urza_slot_event_kind kind, uint32_t state, const char *what,
               const char *why)
{
    urza_slot_event event = {.kind = kind,
                             .from = (urza_slot_state)state,
                             .to = (urza_slot_state)state,
                             .seed = atomic_load(&slot->seed_seen),
                             .tick = atomic_load(&slot->tick_seen),
                             .count = 1};
    snprintf(event.reason, sizeof event.reason, "%.36s: %.80s", what, why);
    event_add(&slot->ring, &event);
    atomic_fetch_add(&slot->counters.fallbacks, 1);
}

bool tape_is_current(const struct urza_slot_tape *tape)
{
    return slot_published(tape->slot).seed == tape->seen.seed;
}

void slot_fault(struct urza_slot *slot, uint32_t state, const char *what, const urza_error *why)
{
    char reason[160];
    snprintf(reason, sizeof reason, "%.60s%s%.90s", why->place, why->place[0] ? ": " : "",
             why->message);
    slot_warn(slot, URZA_EVENT_FAULT, state, what, reason);
    atomic_fetch_add(&slot->faults, 1);
    atomic_fetch_add(&slot->counters.faults, 1);
}

void slot_uproot(struct urza_slot *slot)
{
    urza_handle_replace(slot->handle, NULL, NULL);
}

static void forget_news(struct urza_slot *slot)
{
    atomic_store(&slot->trial, TRIAL_NONE);
    atomic_store(&slot->faults, 0);
    atomic_store(&slot->norms, 0);
    atomic_store(&slot->square_bits, 0);
}

static bool is_printable(const char *name)
{
    for (const char *c = name; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 127 || *c == '"' || *c == '\\')
            return false;
    return true;
}

static bool read_options(const urza_slot_options *given, urza_slot_options *out, struct error *err)
{
    const char *name = given->name ? given->name : "";
    *out = *given;
    if (strlen(name) > NAME_MOST)
        return fail(err, ERR_USAGE, "a slot's name has at most %d bytes", NAME_MOST);
    if (!is_printable(name))
        return fail(err, ERR_USAGE, "a slot's name has no control characters, \" or \\");
    if ((uint32_t)given->blend >= GRAFT_BLEND_COUNT || (uint32_t)given->curve > URZA_SIGMOID)
        return fail(err, ERR_USAGE, "there is no such blend or curve");
    if (given->gradient_ratio != given->gradient_ratio || given->gain != given->gain)
        return fail(err, ERR_USAGE, "gradient_ratio and gain are numbers");
#define DEFAULT(field) out->field = given->field != 0 ? given->field : defaults.field
    DEFAULT(germinate_ticks);
    DEFAULT(train_ticks);
    DEFAULT(blend_ticks);
    DEFAULT(hold_ticks);
    DEFAULT(embargo_ticks);
    DEFAULT(faults_most);
    DEFAULT(gradient_ratio);
#undef DEFAULT
    out->name = strdup(name);
    return out->name || fail(err, ERR_NOMEM, "no memory for a slot");
}

URZA_EXPORT int urza_slot_open(const urza_slot_options *options, urza_slot **out, urza_error *err)
{
    static const urza_slot_options none;
    struct error e;
    if (!out)
        return public_result(fail(&e, ERR_USAGE, "an argument is NULL"), &e, err);
    struct urza_slot *slot = calloc(1, sizeof *slot);
    if (!slot)
        return public_result(fail(&e, ERR_NOMEM, "no memory for a slot"), &e, err);
    atomic_flag_clear(&slot->ring.busy);
    if (!read_options(options ? options : &none, &slot->options, &e)) {
        slot->options.name = NULL;
        urza_slot_close(slot);
        return public_result(false, &e, err);
    }
    int code = urza_handle_new(NULL, &slot->handle, err);
    if (code != 0) {
        urza_slot_close(slot);
        return code;
    }
    slot_publish(slot);
    *out = slot;
    return 0;
}

URZA_EXPORT void urza_slot_close(urza_slot *slot)
{
    if (!slot)
        return;
    for (int i = 0; i < TAPES_KEPT; i++)
        tape_free(atomic_load(&slot->tapes[i]));
    urza_handle_free(slot->handle);
    free(slot->ring.events);
    free((char *)(uintptr_t)slot->options.name);
    free(slot);
}

bool slot_lacks_module(const struct urza_slot *slot)
{
    urza_module *there = urza_handle_get(slot->handle);
    urza_unload(there);
    return slot->machine.state >= URZA_GERMINATED && slot->machine.state <= URZA_FOSSILIZED &&
           !there;
}

/* Also in a later state, to which a slot was restored, or which another rank decided. */
static bool may_supply(const struct urza_slot *slot, uint32_t seed)
{
    return slot->machine.seed == seed && slot_lacks_module(slot);
}

static bool supply(struct urza_slot *slot, urza_module *module, urza_error *err)
{
    double parameters = 0;
    for (uint32_t i = 0; i < urza_param_count(module); i++) {
        const urza_tensor_info *info = urza_param_info(module, i);
        double count = 1;
        for (int32_t k = 0; k < info->rank; k++)
            count *= (double)info->shape[k];
        parameters += count;
    }
    slot->parameters = parameters;
    return urza_handle_replace(slot->handle, module, err) == 0;
}

URZA_EXPORT int urza_slot_supply(urza_slot *slot, uint32_t seed, urza_module *module,
                                 urza_error *err)
{
    struct error e;
    if (!slot || !module)
        return public_result(fail(&e, ERR_USAGE, "an argument is NULL"), &e, err);
    if (!may_supply(slot, seed))
        return 0;
    if (!seed_check(module, slot->options.blend, &e)) {
        urza_slot_refuse(slot, seed, e.message);
        return public_result(false, &e, err);
    }
    urza_error why;
    if (supply(slot, module, &why))
        return 0;
    urza_slot_refuse(slot, seed, why.message);
    if (err)
        *err = why;
    return why.code;
}

URZA_EXPORT void urza_slot_refuse(urza_slot *slot, uint32_t seed, const char *reason)
{
    if (!slot || !may_supply(slot, seed))
        return;
    urza_error why = {0};
    snprintf(why.message, sizeof why.message, "%s", reason ? reason : "no reason is told");
    slot_fault(slot, slot->machine.state, "there is no kernel for the seed", &why);
    if (slot->machine.state == URZA_GERMINATED)
        atomic_store(&slot->trial, TRIAL_FAILED);
}

URZA_EXPORT int urza_slot_plant(urza_slot *slot, const char *name, urza_module *module,
                                uint32_t *out_seed, urza_error *err)
{
    struct error e;
    urza_error why;
    if (!slot || !name)
        return public_result(fail(&e, ERR_USAGE, "an argument is NULL"), &e, err);
    if (strlen(name) >= SEED_NAME_BYTES || !is_printable(name))
        return public_result(
            fail(&e, ERR_USAGE,
                 "a seed's name has at most %d bytes, and no control characters, \" or \\",
                 SEED_NAME_BYTES - 1),
            &e, err);
    if (slot->machine.state != URZA_DORMANT)
        return public_result(
            fail(&e, ERR_USAGE, "slot '%s' is %s: seeds are planted in DORMANT ones",
                 slot->options.name, urza_slot_state_name((urza_slot_state)slot->machine.state)),
            &e, err);
    if (module && !seed_check(module, slot->options.blend, &e))
        return public_result(false, &e, err);
    struct machine *m = &slot->machine;
    forget_news(slot);
    snprintf(slot->seed_name, sizeof slot->seed_name, "%s", name);
    m->seed++;
    m->state = URZA_GERMINATED;
    m->since = m->tick;
    m->faults = 0;
    m->alpha = 0;
    slot_publish(slot); /* before the module is there: calls that know an older seed see it */
    if (module && !supply(slot, module, &why)) {
        m->state = URZA_DORMANT;
        slot_settle(slot);
        if (err)
            *err = why;
        return why.code;
    }
    urza_slot_event event = {.kind = URZA_EVENT_STATE,
                             .from = URZA_DORMANT,
                             .to = URZA_GERMINATED,
                             .seed = m->seed,
                             .tick = m->tick,
                             .count = 1};
    snprintf(event.reason, sizeof event.reason, "planted: %s", name);
    event_add(&slot->ring, &event);
    if (out_seed)
        *out_seed = m->seed;
    return 0;
}

static void told(void *context, urza_slot_state from, urza_slot_state to, const char *reason)
{
    struct urza_slot *slot = context;
    bool fault = from == to && strncmp(reason, "a fault", 7) == 0;
    urza_slot_event event = {.kind = from != to ? URZA_EVENT_STATE
                                     : fault    ? URZA_EVENT_FAULT
                                                : URZA_EVENT_COMMAND,
                             .from = from,
                             .to = to,
                             .seed = slot->machine.seed,
                             .tick = slot->machine.tick,
                             .count = 1};
    snprintf(event.reason, sizeof event.reason, "%s", reason);
    event_add(&slot->ring, &event);
}

URZA_EXPORT urza_slot_state urza_slot_tick(urza_slot *slot, const urza_metrics *metrics)
{
    if (!slot)
        return URZA_DORMANT;
    struct machine *m = &slot->machine;
    struct cpu_fp before;
    if (m->state == URZA_DORMANT && m->waiting == 0) { /* most slots of a large network */
        m->tick++;
        atomic_store_explicit(&slot->tick_seen, m->tick, memory_order_relaxed);
        return URZA_DORMANT;
    }
    cpu_fp_begin(&before);
    uint64_t norms = atomic_exchange(&slot->norms, 0);
    double squares = take_squares(slot);
    const struct news news = {.trial = (enum trial)atomic_load(&slot->trial),
                              .faults = atomic_exchange(&slot->faults, 0),
                              .has_gradient = norms > 0,
                              .gradient_norm = norms > 0 ? sqrt(squares / (double)norms) : 0,
                              .parameters = slot->parameters,
                              .metrics = metrics};
    machine_tick(&slot->machine, &slot->options, &news, told, slot);
    slot_settle(slot);
    cpu_fp_end(&before);
    return (urza_slot_state)slot->machine.state;
}

/* Calls see the state from here on. */
void slot_settle(struct urza_slot *slot)
{
    uint32_t state = slot->machine.state;
    slot_publish(slot);
    if (state != URZA_GERMINATED)
        atomic_store(&slot->trial, TRIAL_NONE);
    if (state == URZA_DORMANT || state > URZA_FOSSILIZED) {
        atomic_store(&slot->rollout, NULL);
        slot_uproot(slot);
    }
    if (state == URZA_DORMANT)
        slot->seed_name[0] = '\0';
}

URZA_EXPORT int urza_slot_command(urza_slot *slot, const urza_command *command, urza_error *err)
{
    struct error e;
    if (!slot || !command)
        return public_result(fail(&e, ERR_USAGE, "an argument is NULL"), &e, err);
    urza_command c = *command;
    struct machine *m = &slot->machine;
    if ((uint32_t)c.kind > URZA_COMMAND_FOSSILIZE || (uint32_t)c.curve > URZA_SIGMOID)
        return public_result(fail(&e, ERR_USAGE, "there is no such command or curve"), &e, err);
    if (c.kind == URZA_COMMAND_BLEND) {
        c.ticks = c.ticks > 0 ? c.ticks : slot->options.blend_ticks;
        c.target = c.target != 0 ? c.target : 1;
        if (!(c.target > 0 && c.target <= 1))
            return public_result(
                fail(&e, ERR_USAGE, "target is %g, expected above 0 and at most 1", c.target), &e,
                err);
    } else
        c.target = 0; /* which has no meaning then */
    if (m->waiting == COMMANDS_MOST)
        return public_result(
            fail(&e, ERR_LIMIT, "%d commands wait for the next tick already", COMMANDS_MOST), &e,
            err);
    m->commands[m->waiting++] = c;
    return 0;
}

URZA_EXPORT urza_slot_state urza_slot_state_get(const urza_slot *slot)
{
    return slot ? (urza_slot_state)slot_published(slot).state : URZA_DORMANT;
}

URZA_EXPORT double urza_slot_alpha(const urza_slot *slot)
{
    return slot ? (double)slot_published(slot).alpha : 0;
}
