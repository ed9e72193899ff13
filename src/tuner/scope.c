/* Overrides and scopes: rules that take precedence over measurements. */
#include <string.h>

#include "tuner/tuner_priv.h"

static struct rule *find_rule(const struct rules *rules, const char *match)
{
    for (uint32_t i = 0; i < rules->rules.count; i++)
        if (strcmp(rules->rules.items[i].match, match) == 0)
            return &rules->rules.items[i];
    return NULL;
}

void rules_set(struct rules *rules, struct arena *arena, const char *match,
               const struct config *config)
{
    struct rule *known = find_rule(rules, match);
    if (known) {
        known->config = *config;
        return;
    }
    struct rule rule = {arena_strdup(arena, match), *config};
    VEC_PUSH(arena, &rules->rules, rule);
}

bool rules_remove(struct rules *rules, const char *match)
{
    struct rule *known = find_rule(rules, match);
    if (known)
        *known = rules->rules.items[--rules->rules.count];
    return known != NULL;
}

const struct config *rules_find(const struct rules *rules, const char *key, const char *op)
{
    const char *const names[] = {key, op, "*"}; /* the more specific match first */
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const struct rule *rule = find_rule(rules, names[i]);
        if (rule)
            return &rule->config;
    }
    return NULL;
}

void rules_copy(struct rules *to, struct arena *arena, const struct rules *from)
{
    for (uint32_t i = 0; i < from->rules.count; i++)
        rules_set(to, arena, from->rules.items[i].match, &from->rules.items[i].config);
}

struct scope *scopes_push(struct scopes *scopes, struct arena *arena, bool is_policy,
                          const struct rules *rules)
{
    struct scope *scope = ARENA_NEW(arena, struct scope);
    scope->owner = pthread_self();
    scope->is_policy = is_policy;
    if (rules)
        rules_copy(&scope->rules, arena, rules);
    VEC_PUSH(arena, &scopes->open, scope);
    return scope;
}

void scopes_copy(struct scopes *to, struct arena *arena, const struct scopes *from)
{
    for (uint32_t i = 0; i < from->open.count; i++) {
        const struct scope *scope = from->open.items[i];
        struct scope *copy = scopes_push(to, arena, scope->is_policy, &scope->rules);
        copy->owner = scope->owner;
        copy->policy = scope->policy;
    }
}

/* Index + 1 of this thread's innermost scope of that kind among the first `from`; 0: none. */
static uint32_t next_scope(const struct scopes *scopes, uint32_t from, bool is_policy)
{
    for (uint32_t i = from; i > 0; i--) {
        const struct scope *scope = scopes->open.items[i - 1];
        if (scope->is_policy == is_policy && pthread_equal(scope->owner, pthread_self()))
            return i;
    }
    return 0;
}

struct scope *scopes_top(const struct scopes *scopes, bool is_policy)
{
    uint32_t i = next_scope(scopes, scopes->open.count, is_policy);
    return i > 0 ? scopes->open.items[i - 1] : NULL;
}

bool scopes_pop(struct scopes *scopes, bool is_policy)
{
    uint32_t i = next_scope(scopes, scopes->open.count, is_policy);
    if (i == 0)
        return false;
    memmove(&scopes->open.items[i - 1], &scopes->open.items[i],
            (scopes->open.count - i) * sizeof scopes->open.items[0]);
    scopes->open.count--;
    return true;
}

const struct config *scopes_find(const struct scopes *scopes, const char *key, const char *op)
{
    const struct config *found = NULL;
    for (uint32_t i = next_scope(scopes, scopes->open.count, false); i > 0 && !found;
         i = next_scope(scopes, i - 1, false))
        found = rules_find(&scopes->open.items[i - 1]->rules, key, op);
    return found;
}
