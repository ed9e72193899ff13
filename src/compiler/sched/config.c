/* Configs: the names of their keys. */
#include "compiler/sched/sched_priv.h"

static const struct {
    const char *name, *doc;
    int32_t most;
} keys[CONFIG_COUNT] = {
#define CONFIG(id, text, most, doc) [CONFIG_##id] = {text, doc, most},
#include "compiler/sched/configs.def"
#undef CONFIG
};

const char *config_key_name(enum config_key key)
{
    return keys[key].name;
}

const char *config_key_doc(enum config_key key)
{
    return keys[key].doc;
}

int32_t config_key_most(enum config_key key)
{
    return keys[key].most;
}

bool config_equal(const struct config *a, const struct config *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}
