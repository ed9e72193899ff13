/* The states of a slot (urza/layer.h), without memory, threads or kernels. A tick
 *
 *   1. counts itself; adds the faults since the last one, and one if gradients explode; prunes the
 *      seed if they are too many;
 *   2. obeys the commands, in their order, each in the state that the one before left;
 *   3. if the state is still what it was before the tick, goes where it leads by itself. */
#include <math.h>
#include <string.h>

#include "layer/slot_priv.h"

#define SIGMOID_REACH 6.0

struct ticking {
    struct machine *m;
    const urza_slot_options *rules;
    const struct news *news;
    machine_told *told;
    void *context;
    bool moved;
};

double curve_at(urza_curve curve, double p)
{
    double end = 1 / (1 + exp(-SIGMOID_REACH)), begin = 1 / (1 + exp(SIGMOID_REACH));
    if (p <= 0 || p >= 1)
        return p <= 0 ? 0 : 1;
    if (curve == URZA_COSINE)
        return (1 - cos(acos(-1) * p)) / 2;
    if (curve == URZA_SIGMOID)
        return (1 / (1 + exp(-SIGMOID_REACH * (2 * p - 1))) - begin) / (end - begin);
    return p;
}

static void go(struct ticking *t, urza_slot_state to, const char *reason)
{
    struct machine *m = t->m;
    urza_slot_state from = (urza_slot_state)m->state;
    m->state = to;
    m->since = m->tick;
    m->gains = 0;
    if (to == URZA_PRUNED)
        m->alpha = 0;
    if (to == URZA_TRAINING)
        m->gradient = (struct detector){0};
    t->moved = true;
    t->told(t->context, from, to, reason);
}

static void blend(struct ticking *t, double target, uint32_t ticks, urza_curve curve,
                  const char *reason)
{
    struct machine *m = t->m;
    m->ramp = (struct ramp){m->alpha, target, m->tick, ticks, curve};
    go(t, URZA_BLENDING, reason);
}

static bool learns(const struct machine *m)
{
    return m->state >= URZA_TRAINING && m->state <= URZA_HOLDING;
}

static void count_faults(struct ticking *t)
{
    struct machine *m = t->m;
    uint32_t more =
        m->state >= URZA_GERMINATED && m->state <= URZA_FOSSILIZED ? t->news->faults : 0;
    bool exploded = learns(m) && t->news->has_gradient &&
                    detector_observe(&m->gradient, t->news->gradient_norm);
    if (exploded)
        t->told(t->context, (urza_slot_state)m->state, (urza_slot_state)m->state,
                "a fault: the seed's gradients explode");
    more += exploded && more < UINT32_MAX;
    m->faults = more > UINT32_MAX - m->faults ? UINT32_MAX : m->faults + more;
    if (learns(m) && m->faults >= t->rules->faults_most)
        go(t, URZA_PRUNED, "too many faults");
}

static bool obey_prune(struct ticking *t, const urza_command *c)
{
    if (t->m->state != URZA_GERMINATED && !learns(t->m))
        return false;
    if (state_blends(t->m->state) && c->ticks > 0)
        blend(t, 0, c->ticks, c->curve, "command prune");
    else
        go(t, URZA_PRUNED, "command prune");
    return true;
}

static bool obey(struct ticking *t, const urza_command *c)
{
    struct machine *m = t->m;
    switch (c->kind) {
    case URZA_COMMAND_BLEND:
        if (m->state != URZA_TRAINING && m->state != URZA_HOLDING)
            return false;
        blend(t, c->target, c->ticks, c->curve, "command blend");
        return true;
    case URZA_COMMAND_HOLD:
        if (m->state != URZA_BLENDING)
            return false;
        go(t, URZA_HOLDING, "command hold");
        return true;
    case URZA_COMMAND_PRUNE: return obey_prune(t, c);
    default:
        if (m->state != URZA_HOLDING || m->alpha != 1)
            return false;
        go(t, URZA_FOSSILIZED, "command fossilize");
        return true;
    }
}

static void obey_all(struct ticking *t)
{
    static const char *const refusals[] = {
        "command blend: fits TRAINING and HOLDING",
        "command hold: fits BLENDING",
        "command prune: fits GERMINATED, TRAINING, BLENDING and HOLDING",
        "command fossilize: fits HOLDING with alpha 1",
    };
    struct machine *m = t->m;
    for (uint32_t i = 0; i < m->waiting; i++)
        if (!obey(t, &m->commands[i]))
            t->told(t->context, (urza_slot_state)m->state, (urza_slot_state)m->state,
                    refusals[m->commands[i].kind]);
    m->waiting = 0;
    memset(m->commands, 0, sizeof m->commands);
}

/* Whether the seed's gradients are as large, parameter by parameter, as the host's. */
static bool ratio_suffices(const struct ticking *t)
{
    const urza_metrics *told = t->news->metrics;
    if (!told || !(told->host_norm > 0) || !(told->host_parameters > 0))
        return true;
    if (!t->news->has_gradient || t->news->parameters == 0)
        return false;
    return t->news->gradient_norm / told->host_norm *
               sqrt(told->host_parameters / t->news->parameters) >=
           t->rules->gradient_ratio;
}

static void train_on(struct ticking *t)
{
    if (t->m->tick - t->m->since >= t->rules->train_ticks && t->m->gradient.count > 0 &&
        ratio_suffices(t))
        blend(t, 1, t->rules->blend_ticks, t->rules->curve, "it has learned");
}

static void blend_on(struct ticking *t)
{
    struct machine *m = t->m;
    const struct ramp *ramp = &m->ramp;
    uint64_t gone = m->tick - ramp->begin;
    if (gone < ramp->ticks) {
        double p = (double)gone / ramp->ticks;
        m->alpha = ramp->from + (ramp->to - ramp->from) * curve_at((urza_curve)ramp->curve, p);
        return;
    }
    m->alpha = ramp->to;
    if (ramp->to > 0)
        go(t, URZA_HOLDING, "alpha is at its target");
    else
        go(t, URZA_PRUNED, "alpha is down to 0");
}

static void hold_on(struct ticking *t)
{
    struct machine *m = t->m;
    const double *gain = t->news->metrics ? t->news->metrics->gain : NULL;
    if (gain)
        m->gains = *gain >= t->rules->gain ? m->gains + (m->gains < UINT32_MAX) : 0;
    if (m->alpha == 1 && m->gains >= t->rules->hold_ticks)
        go(t, URZA_FOSSILIZED, "it helps the host");
}

static void germinate_on(struct ticking *t)
{
    if (t->news->trial == TRIAL_PASSED)
        go(t, URZA_TRAINING, "the trial passed");
    else if (t->news->trial == TRIAL_FAILED)
        go(t, URZA_PRUNED, "the trial failed");
    else if (t->m->tick - t->m->since >= t->rules->germinate_ticks)
        go(t, URZA_PRUNED, "no trial by the deadline");
}

static void go_on(struct ticking *t)
{
    const struct machine *m = t->m;
    switch ((urza_slot_state)m->state) {
    case URZA_GERMINATED: germinate_on(t); break;
    case URZA_TRAINING: train_on(t); break;
    case URZA_BLENDING: blend_on(t); break;
    case URZA_HOLDING: hold_on(t); break;
    case URZA_PRUNED: go(t, URZA_EMBARGOED, "the seed is out"); break;
    case URZA_EMBARGOED:
        if (m->tick - m->since >= t->rules->embargo_ticks)
            go(t, URZA_RESETTING, "the embargo is over");
        break;
    case URZA_RESETTING: go(t, URZA_DORMANT, "free for another seed"); break;
    default: break;
    }
}

void machine_tick(struct machine *machine, const urza_slot_options *rules, const struct news *news,
                  machine_told *told, void *context)
{
    struct ticking t = {machine, rules, news, told, context, false};
    machine->tick++;
    count_faults(&t);
    obey_all(&t);
    if (!t.moved)
        go_on(&t);
}
