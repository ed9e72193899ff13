#include "compiler/import/import_test_util.h"
#include "package/graft_spec.h"
#include "package/step_spec.h"

#define HEAD "{\"format\": \"urza.blueprint/1\", "
#define GRAPH                                                                                    \
    "\"graph\": \"graph \\\"g\\\"\\ndim B 1..9 multiple 1\\n%1 = input \\\"x\\\" : f32[B, 3]\\n" \
    "%2 = param \\\"w\\\" : f32[3]\\n%3 = broadcast %2 {axes [1]} : f32[B, 3]\\n"                \
    "%4 = mul %1, %3 : f32[B, 3]\\noutput \\\"y\\\" %4\\n\""

static void test_reads(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    struct blueprint b =
        must_read(&arena, HEAD GRAPH ", \"params\": [{\"id\": \"w\", \"init\": {\"kind\": "
                                     "\"constant\", \"value\": 2}}]}");
    assert_string_equal(output_type(&b, 0), "f32[B, 3]");
    assert_int_equal(b.inits[0].kind, INIT_CONSTANT);
    /* The canonical form reads as the same graph. */
    struct blueprint again = must_read(&arena, b.json);
    assert_string_equal(again.json, b.json);
    assert_string_equal(graph_text(&again), graph_text(&b));
    assert_int_equal(must_read(&arena, HEAD GRAPH "}").inits[0].kind, INIT_NONE);
    arena_release(&arena);
}

/* What a training step says of itself stays beside its graph. */
static void test_step(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    struct blueprint b =
        must_read(&arena, HEAD GRAPH ", \"step\": {\"loss\": \"mse_loss\", \"optimizer\": "
                                     "{\"name\": \"sgd\"}, \"trained\": [\"w\"], "
                                     "\"frozen\": []}}");
    assert_non_null(b.step);
    assert_string_equal(b.step->loss, "mse_loss");
    assert_int_equal(b.step->trained_count, 1);
    struct blueprint again = must_read(&arena, b.json);
    assert_non_null(again.step);
    assert_string_equal(again.json, b.json);
    import_graph_json(&again, &arena); /* made anew from what was read, but for the param's init */
    assert_non_null(strstr(again.json, "\"step\":{\"frozen\":[],\"loss\":\"mse_loss\""));
    assert_null(must_read(&arena, HEAD GRAPH "}").step);
    must_refuse(HEAD GRAPH ", \"step\": []}", ERR_JSON, "field 'step'", "is no object");
    must_refuse(HEAD GRAPH ", \"step\": {\"loss\": \"l\"}}", ERR_JSON, "field 'step'", "optimizer");
    arena_release(&arena);
}

/* So does what a graft says. */
static void test_graft(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    struct blueprint b =
        must_read(&arena, HEAD GRAPH ", \"graft\": {\"blend\": \"lerp\", \"last\": [\"w\"]}}");
    assert_non_null(b.graft);
    assert_int_equal(b.graft->blend, GRAFT_LERP);
    struct blueprint again = must_read(&arena, b.json);
    assert_non_null(again.graft);
    assert_string_equal(again.json, b.json);
    import_graph_json(&again, &arena);
    assert_non_null(strstr(again.json, "\"graft\":{\"blend\":\"lerp\",\"last\":[\"w\"]}"));
    assert_null(must_read(&arena, HEAD GRAPH "}").graft);
    must_refuse(HEAD GRAPH ", \"graft\": {\"blend\": \"sum\", \"last\": []}}", ERR_JSON,
                "field 'graft'", "'blend' is 'sum'");
    arena_release(&arena);
}

/* clang-format off */
#define TRAINED                                                                                \
    "\"graph\": \"graph \\\"g\\\"\\n%1 = input \\\"x\\\" : f32[3]\\n"                           \
    "%2 = input \\\"seed\\\" : i64[]\\n%3 = param \\\"m\\\" : f32[3]\\n"                         \
    "%4 = add %1, %3 : f32[3]\\n%5 = cast %2 : f32[]\\n"                                     \
    "output \\\"y\\\" %1\\noutput \\\"s\\\" %5\\noutput \\\"new.m\\\" %4\\n\""
/* clang-format on */

/* And what is updated, and the seed. */
static void test_training(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    struct blueprint b =
        must_read(&arena, HEAD TRAINED ", \"running\": {\"m\": \"new.m\"}, \"draws\": true}");
    assert_int_equal(b.running_count, 1);
    assert_string_equal(b.running[0].param, "m");
    assert_string_equal(b.running[0].output, "new.m");
    assert_true(b.draws && b.inits[0].frozen);
    import_graph_json(&b, &arena);
    struct blueprint again = must_read(&arena, b.json);
    assert_true(again.running_count == 1 && again.draws);
    assert_string_equal(again.json, b.json);
    b = must_read(&arena, HEAD TRAINED "}");
    assert_true(b.running_count == 0 && !b.draws);
    must_refuse(HEAD TRAINED ", \"running\": {\"m\": \"y\"}}", ERR_BLUEPRINT, "field 'running'",
                "'new.m' is the next value of no param");
    must_refuse(HEAD TRAINED ", \"running\": {\"m\": \"new.m\", \"n\": \"s\"}}", ERR_BLUEPRINT,
                "field 'running'", "'s' is the next value of no param");
    must_refuse(HEAD TRAINED ", \"running\": {\"m\": \"s\", \"n\": \"new.m\"}}", ERR_BLUEPRINT,
                "field 'running'", "'s' has another type than 'm'");
    must_refuse(HEAD TRAINED ", \"running\": []}", ERR_JSON, "", "running");
    must_refuse(HEAD GRAPH ", \"draws\": true}", ERR_BLUEPRINT, "", "a last input 'seed'");
    must_refuse(HEAD GRAPH ", \"draws\": 1}", ERR_JSON, "", "draws");
    arena_release(&arena);
}

static void test_refuses(void **state)
{
    (void)state;
    must_refuse(HEAD "\"graph\": 3}", ERR_JSON, "", "graph");
    must_refuse(HEAD "\"graph\": \"nonsense\"}", ERR_PARSE, "field 'graph', line 1, column 1", "");
    must_refuse(HEAD GRAPH ", \"nodes\": []}", ERR_JSON, "", "nodes");
    must_refuse(HEAD GRAPH ", \"params\": [{\"id\": \"w\", \"trainable\": 1}]}", ERR_JSON,
                "params[0]", "'trainable' of param 'w' is not true or false");
    must_refuse(HEAD GRAPH ", \"params\": [{\"id\": \"v\"}]}", ERR_BLUEPRINT, "params[0]",
                "no param 'v'");
    must_refuse(HEAD GRAPH ", \"params\": [{\"id\": \"w\", \"init\": {\"kind\": \"magic\"}}]}",
                ERR_BLUEPRINT, "params[0]", "magic");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads), cmocka_unit_test(test_step), cmocka_unit_test(test_graft),
        cmocka_unit_test(test_training), cmocka_unit_test(test_refuses)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
