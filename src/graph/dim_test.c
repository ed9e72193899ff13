/* Random expression trees against direct evaluation, identities, simplifications, text, limits, bad
 * text. */
#include "graph/dim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/limits.h"
#include "base/rng.h"
#include "base/strbuf.h"

#include <cmocka.h> /* after error.h: cmocka has a macro named fail */

static const struct dim_name NAMES[] = {{"B", 1, 12, 1, 0, NULL},
                                        {"S", 0, 9, 1, 4, NULL},
                                        {"H", 4, 12, 4, 8, NULL},
                                        {"seq.len_2", 2, 10, 2, 0, NULL}};
enum { NAME_COUNT = sizeof NAMES / sizeof *NAMES };

struct fixture {
    struct arena arena;
    struct dim_table table;
    uint64_t key, counter;
};

static int set_up(void **state)
{
    static struct fixture f;
    f = (struct fixture){.key = rng_key(7)};
    arena_init(&f.arena);
    dim_table_init(&f.table, &f.arena);
    struct error err;
    for (uint32_t i = 0; i < NAME_COUNT; i++) {
        uint32_t index;
        assert_true(dim_declare(&f.table, &NAMES[i], &index, &err));
        assert_int_equal(index, i);
    }
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    arena_release(&f->arena);
    return 0;
}

static uint32_t pick(struct fixture *f, uint32_t count)
{
    return rng_u32(f->key, f->counter++) % count;
}

static dim_id parse(struct fixture *f, const char *text)
{
    struct error err = {0};
    dim_id dim = DIM_NONE;
    const char *at = text;
    if (!dim_parse(&f->table, &at, &dim, &err))
        fail_msg("'%s': %s", text, err.message);
    assert_string_equal(at, "");
    return dim;
}

static const char *print(struct fixture *f, dim_id dim)
{
    struct strbuf text;
    strbuf_init(&text, &f->arena);
    dim_print(&f->table, dim, &text);
    return text.data;
}

struct tree {
    char op; /* c constant, n name, + - * / ^ (max) _ (min) */
    int64_t value;
    struct tree *a, *b;
    dim_id dim;
};

static struct tree *leaf(struct fixture *f, char op, int64_t value)
{
    struct tree *tree = ARENA_NEW(&f->arena, struct tree);
    tree->op = op;
    tree->value = value;
    tree->dim = op == 'c' ? dim_const(&f->table, value) : dim_named(&f->table, (uint32_t)value);
    return tree;
}

static struct tree *join(struct fixture *f, char op, struct tree *a, struct tree *b)
{
    struct tree *tree = ARENA_NEW(&f->arena, struct tree);
    *tree = (struct tree){op, 0, a, b, DIM_NONE};
    struct dim_table *table = &f->table;
    switch (op) {
    case '+': tree->dim = dim_add(table, a->dim, b->dim); break;
    case '-': tree->dim = dim_sub(table, a->dim, b->dim); break;
    case '*': tree->dim = dim_mul(table, a->dim, b->dim); break;
    case '/': tree->dim = dim_floordiv(table, a->dim, b->dim); break;
    case '^': tree->dim = dim_max(table, a->dim, b->dim); break;
    case '_': tree->dim = dim_min(table, a->dim, b->dim); break;
    }
    return tree;
}

static struct tree *grow(struct fixture *f, int depth)
{
    if (depth == 0 || pick(f, 8) == 0)
        return pick(f, 3) == 0 ? leaf(f, 'c', (int64_t)pick(f, 17) - 8)
                               : leaf(f, 'n', pick(f, NAME_COUNT));
    char op = "+-*/^_+-/"[pick(f, 9)];
    struct tree *a = grow(f, depth - 1), *b;
    if (op != '/')
        b = grow(f, depth - 1);
    else if (pick(f, 2) == 0)
        b = leaf(f, 'c', 1 + pick(f, 7));
    else
        b = join(f, '^', leaf(f, 'c', 1), grow(f, depth - 2 > 0 ? depth - 2 : 0));
    return join(f, op, a, b);
}

static void print_tree(const struct tree *tree, struct strbuf *out)
{
    if (tree->op == 'c') {
        strbuf_printf(out, "%lld", (long long)tree->value);
    } else if (tree->op == 'n') {
        strbuf_puts(out, NAMES[tree->value].name);
    } else {
        bool call = tree->op == '^' || tree->op == '_';
        strbuf_puts(out, tree->op == '^' ? "max(" : tree->op == '_' ? "min( " : "(");
        print_tree(tree->a, out);
        strbuf_printf(out, "%s", call ? " ," : "");
        if (!call)
            strbuf_printf(out, tree->op == '/' ? "//" : " %c", tree->op);
        print_tree(tree->b, out);
        strbuf_puts(out, ")");
    }
}

static bool eval_tree(const struct tree *tree, const int64_t *values, int64_t *out)
{
    int64_t a, b;
    if (tree->op == 'c' || tree->op == 'n') {
        *out = tree->op == 'c' ? tree->value : values[tree->value];
        return true;
    }
    if (!eval_tree(tree->a, values, &a) || !eval_tree(tree->b, values, &b))
        return false;
    switch (tree->op) {
    case '+': return checked_add_i64(a, b, out);
    case '-': return checked_add_i64(a, -b, out);
    case '*': return checked_mul_i64(a, b, out);
    case '/': *out = (a - ((a % b) + b) % b) / b; return b > 0;
    case '^': *out = a > b ? a : b; return true;
    default: *out = a < b ? a : b; return true;
    }
}

static void sample(struct fixture *f, int64_t *values)
{
    for (uint32_t i = 0; i < NAME_COUNT; i++) {
        int64_t step = NAMES[i].multiple_of, first = (NAMES[i].min + step - 1) / step;
        values[i] = step * (first + pick(f, (uint32_t)(NAMES[i].max / step - first + 1)));
    }
}

static void check_tree(struct fixture *f, const struct tree *tree, const struct dim_table *copy,
                       dim_id copied)
{
    int64_t min, max, multiple = dim_known_multiple(&f->table, tree->dim);
    dim_range(&f->table, tree->dim, &min, &max);
    assert_true(multiple >= 1);
    for (int i = 0; i < 20; i++) {
        int64_t values[NAME_COUNT], swapped[NAME_COUNT], expected, value;
        sample(f, values);
        assert_true(eval_tree(tree, values, &expected));
        assert_true(dim_eval(&f->table, tree->dim, values, &value));
        if (value != expected || value < min || value > max || value % multiple != 0)
            fail_msg("%s: %lld, expected %lld in %lld … %lld, a multiple of %lld",
                     print(f, tree->dim), (long long)value, (long long)expected, (long long)min,
                     (long long)max, (long long)multiple);
        for (uint32_t n = 0; n < NAME_COUNT; n++)
            swapped[NAME_COUNT - 1 - n] = values[n];
        assert_true(dim_eval(copy, copied, swapped, &value));
        assert_int_equal(value, expected);
    }
}

static void test_random_trees(void **state)
{
    struct fixture *f = *state;
    struct dim_table copy; /* the same names in another order */
    struct error err;
    dim_table_init(&copy, &f->arena);
    for (uint32_t i = NAME_COUNT, index; i-- > 0;)
        assert_true(dim_declare(&copy, &NAMES[i], &index, &err));
    uint32_t checked = 0, total = 5000;
    for (uint32_t i = 0; i < total; i++) {
        struct tree *tree = grow(f, 1 + (int)pick(f, 4));
        if (tree->dim == DIM_NONE) /* too many terms or atoms */
            continue;
        checked++;
        struct strbuf text;
        strbuf_init(&text, &f->arena);
        print_tree(tree, &text);
        assert_int_equal(parse(f, text.data), tree->dim);
        const char *normal = print(f, tree->dim);
        if (parse(f, normal) != tree->dim)
            fail_msg("%s reads back as %s", normal, print(f, parse(f, normal)));
        dim_id copied = dim_import(&copy, &f->table, tree->dim);
        assert_int_not_equal(copied, DIM_NONE);
        check_tree(f, tree, &copy, copied);
        assert_int_equal(dim_import(&f->table, &f->table, tree->dim), tree->dim);
    }
    assert_true(checked > total * 9 / 10);
}

static void test_identities(void **state)
{
    struct fixture *f = *state;
    struct dim_table *t = &f->table;
    uint32_t products = 0;
    for (int i = 0; i < 2000; i++) {
        dim_id a = grow(f, 2)->dim, b = grow(f, 2)->dim, c = grow(f, 2)->dim;
        if (a == DIM_NONE || b == DIM_NONE || c == DIM_NONE)
            continue;
        assert_int_equal(dim_add(t, a, b), dim_add(t, b, a));
        assert_int_equal(dim_sub(t, dim_add(t, a, b), b), a);
        assert_int_equal(dim_max(t, a, b), dim_max(t, b, a));
        assert_int_equal(dim_min(t, a, b), dim_min(t, b, a));
        dim_id product = dim_mul(t, a, b), sum = dim_mul(t, a, dim_add(t, b, c));
        assert_int_equal(product, dim_mul(t, b, a));
        dim_id other = dim_add(t, product, dim_mul(t, a, c));
        if (sum != DIM_NONE && other != DIM_NONE)
            assert_int_equal(sum, other);
        if (product != DIM_NONE && b != dim_const(t, 0)) {
            assert_int_equal(dim_div_exact(t, product, b), a);
            products++;
        }
    }
    assert_true(products > 1000);
}

static void test_simplification(void **state)
{
    struct fixture *f = *state;
    static const char *const cases[][2] = {
        {"(B + 1)*(B - 1)", "B*B - 1"},
        {"S + B + 1 + S", "B + 2*S + 1"},
        {"B - B", "0"},
        {"7//2 - -7//2", "7"}, /* 3 + 4 */
        {"-S", "-S"},
        {"-(B//2)", "-(B//2)"},
        {"-B//2", "-((B + 1)//2)"},
        {"(3 - B)//2 + B//2", "1"},
        {"S - B//2*3", "S - 3*(B//2)"},
        {"(4*B + 2*S)//2", "2*B + S"},
        {"(4*B + S + 9)//4", "B + (S + 1)//4 + 2"},
        {"(4*B + 1)//8", "B//2"},
        {"(B*S + 3*B)//B", "S + 3"},
        {"(B*S + S)//B", "S + S//B"},
        {"(S + 1)//1", "S + 1"},
        {"(B + 1)//(B + 1)", "1"},
        {"(B*S + B + S + 1)//(B + 1)", "S + 1"},
        {"(B//2)//3", "B//6"},
        {"((B + 1)//2 + 1)//2", "(B + 3)//4"},
        {"((B - 1)//2 + 1)", "(B + 1)//2"}, /* the two ways to write a stride of 2 */
        {"S//10", "0"},
        {"(S + 20)//(B + 40)", "0"},
        {"max(3, 5)", "5"},
        {"max(B, B)", "B"},
        {"max(S, S + 1)", "S + 1"},
        {"max(13, B)", "13"},
        {"min(0, B)", "0"},
        {"max(B*S, 0)", "B*S"},
        {"min(B, 20)", "B"},
        {"max(S//3 + 1, (S + 2)//3 + 1)", "(S + 2)//3 + 1"},
        {"2*((H + 1)//2) - H", "0"}, /* H is a multiple of 4 */
        {"(H//2 + 1)//2 + H//4", "H//2"},
        {"H*(seq.len_2//2)*6", "3*H*seq.len_2"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (strcmp(print(f, parse(f, cases[i][0])), cases[i][1]) != 0)
            fail_msg("%s: %s, expected %s", cases[i][0], print(f, parse(f, cases[i][0])),
                     cases[i][1]);
    /* Equal as written, whatever was made first. */
    assert_string_equal(print(f, parse(f, "max(S, B)")), print(f, parse(f, "max(B, S)")));
}

static void test_division(void **state)
{
    struct fixture *f = *state;
    struct dim_table *t = &f->table;
    dim_id b = parse(f, "B"), s = parse(f, "S"), zero = dim_const(t, 0);
    assert_int_equal(dim_floordiv(t, b, zero), DIM_NONE);
    assert_int_equal(dim_floordiv(t, b, s), DIM_NONE); /* S may be 0 */
    assert_int_equal(dim_floordiv(t, b, dim_const(t, -2)), DIM_NONE);
    assert_int_equal(dim_div_exact(t, b, zero), DIM_NONE);
    assert_int_equal(dim_div_exact(t, b, dim_const(t, 2)), DIM_NONE);
    assert_int_equal(dim_div_exact(t, zero, b), zero);
    assert_int_equal(dim_div_exact(t, parse(f, "B*S + 1"), b), DIM_NONE);
    assert_int_equal(dim_div_exact(t, parse(f, "B*B - 1"), parse(f, "B + 1")), parse(f, "B - 1"));
    assert_int_equal(dim_ceildiv(t, dim_const(t, 7), dim_const(t, 2)), dim_const(t, 4));
    assert_int_equal(dim_ceildiv(t, parse(f, "4*B"), dim_const(t, 4)), b);
    assert_int_equal(dim_ceildiv(t, s, dim_const(t, 4)), parse(f, "(S + 3)//4"));
    dim_id dims[] = {b, dim_const(t, 2), s};
    assert_int_equal(dim_product(t, dims, 3), parse(f, "2*B*S"));
    assert_int_equal(dim_product(t, NULL, 0), dim_const(t, 1));
    int64_t value = 5;
    assert_false(dim_is_const(t, b, &value));
    assert_true(dim_is_const(t, zero, NULL) && dim_is_const(t, zero, &value));
    assert_int_equal(value, 0);
    int64_t outside[NAME_COUNT] = {0};
    assert_false(dim_eval(t, parse(f, "S//B"), outside, &value)); /* B = 0 against its range */
}

static void test_facts(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *text;
        int64_t min, max, multiple;
    } cases[] = {
        {"H", 4, 12, 4},
        {"6*H", 24, 72, 24},
        {"H//2", 2, 6, 2},
        {"H//8", 0, 1, 1},
        {"H + seq.len_2", 6, 22, 2},
        {"max(H, 8)", 8, 12, 4},
        {"min(H, 8)", 4, 8, 4},
        {"min(H, 8) - 1", 3, 7, 1},
        {"3 - 2*S", -15, 3, 1},
        {"B*(S - 3)", -36, 105, 1}, /* terms apart: B*S - 3*B */
        {"0", 0, 0, LIMIT_DIM_VALUE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t min, max;
        dim_id dim = parse(f, cases[i].text);
        dim_range(&f->table, dim, &min, &max);
        if (min != cases[i].min || max != cases[i].max)
            fail_msg("%s: %lld … %lld", cases[i].text, (long long)min, (long long)max);
        assert_int_equal(dim_known_multiple(&f->table, dim), cases[i].multiple);
    }
}

static void test_limits(void **state)
{
    struct fixture *f = *state;
    struct dim_table *t = &f->table;
    dim_id b = parse(f, "B"), largest = dim_const(t, INT64_MAX), one = dim_const(t, 1);
    assert_int_equal(dim_add(t, largest, one), DIM_NONE);
    assert_int_equal(dim_mul(t, largest, dim_const(t, 2)), DIM_NONE);
    assert_int_equal(dim_const(t, INT64_MIN), DIM_NONE);
    assert_int_equal(dim_sub(t, dim_sub(t, dim_const(t, 0), largest), one), DIM_NONE);
    dim_id big = dim_mul(t, largest, b);
    assert_int_equal(dim_add(t, big, b), DIM_NONE);
    int64_t min, max, values[NAME_COUNT] = {2, 2, 4, 2}, value;
    dim_range(t, big, &min, &max);
    assert_true(max == INT64_MAX);
    dim_range(t, dim_sub(t, dim_const(t, 0), big), &min, &max);
    assert_true(min == -INT64_MAX);
    assert_false(dim_eval(t, big, values, &value));
    /* A chain passes DIM_NONE through. */
    assert_int_equal(dim_add(t, DIM_NONE, b), DIM_NONE);
    assert_int_equal(dim_max(t, b, DIM_NONE), DIM_NONE);
    assert_int_equal(dim_max(t, DIM_NONE, DIM_NONE), DIM_NONE);
    assert_int_equal(dim_min(t, DIM_NONE, b), DIM_NONE);
    assert_int_equal(dim_mul(t, DIM_NONE, DIM_NONE), DIM_NONE);
    assert_int_equal(dim_ceildiv(t, b, DIM_NONE), DIM_NONE);
    assert_int_equal(dim_div_exact(t, DIM_NONE, b), DIM_NONE);
    assert_int_equal(dim_import(t, t, DIM_NONE), DIM_NONE);
    /* Atoms of a term, and terms. */
    dim_id power = one;
    for (int i = 0; i < 8; i++)
        power = dim_mul(t, power, b);
    assert_true(power != DIM_NONE);
    assert_int_equal(dim_mul(t, power, b), DIM_NONE);
    dim_id sum = parse(f, "B + S + H + seq.len_2 + 1");
    sum = dim_mul(t, sum, sum); /* 15 terms */
    assert_true(sum != DIM_NONE);
    assert_int_equal(dim_mul(t, sum, sum), DIM_NONE);
    /* Depth, and the size as a tree: minima triple their operands. */
    dim_id deep = b, wide = b;
    int steps = 0;
    while ((deep = dim_floordiv(t, dim_add(t, deep, b), parse(f, "B + 1"))) != DIM_NONE)
        steps++;
    assert_int_equal(steps, 16);
    for (steps = 0; wide != DIM_NONE; steps++)
        wide = dim_max(t, dim_mul(t, wide, dim_const(t, -2)), dim_mul(t, wide, parse(f, "S - 5")));
    assert_in_range(steps, 3, 20);
}

static void test_printed_depth_parses(void **state)
{
    struct fixture *f = *state;
    dim_id dim = parse(f, "B"), next, divisor = parse(f, "B + 1");
    while ((next = dim_floordiv(&f->table, dim_mul(&f->table, dim_const(&f->table, -3), dim),
                                divisor)) != DIM_NONE)
        dim = next;
    assert_int_equal(parse(f, print(f, dim)), dim);
    dim = dim_mul(&f->table, dim, dim_const(&f->table, -2));
    assert_int_equal(parse(f, print(f, dim)), dim);
}

static void test_bad_text(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *text;
        enum error_code code;
    } cases[] = {
        {"", ERR_PARSE},
        {"  ", ERR_PARSE},
        {"+B", ERR_PARSE},
        {"B +", ERR_PARSE},
        {"(B", ERR_PARSE},
        {"B//", ERR_PARSE},
        {"max(B)", ERR_PARSE},
        {"max(B, S", ERR_PARSE},
        {".x", ERR_PARSE},
        {"X", ERR_BLUEPRINT},
        {"max", ERR_BLUEPRINT},
        {"B//S", ERR_BLUEPRINT},
        {"B//0", ERR_BLUEPRINT},
        {"B//-1", ERR_BLUEPRINT},
        {"9223372036854775808", ERR_LIMIT},
        {"-", ERR_PARSE},
        {"9223372036854775807 + 1", ERR_LIMIT},
        {"B*B*B*B*B*B*B*B*B", ERR_LIMIT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error err = {0};
        const char *at = cases[i].text;
        dim_id dim = 77;
        assert_false(dim_parse(&f->table, &at, &dim, &err));
        assert_int_equal(err.code, cases[i].code);
        assert_ptr_equal(at, cases[i].text);
        assert_int_equal(dim, 77);
    }
    char nested[3000] = {0};
    for (size_t depth = 1; depth < 1000; depth++) {
        struct error err = {0};
        memset(nested, '(', depth);
        nested[depth] = 'B';
        memset(nested + depth + 1, ')', depth);
        const char *at = nested;
        dim_id dim;
        assert_int_equal(dim_parse(&f->table, &at, &dim, &err), depth <= 32);
        assert_int_equal(err.code, depth <= 32 ? ERR_NONE : ERR_LIMIT);
    }
    char name[400] = {0};
    memset(name, 'x', sizeof name - 1);
    struct error err = {0};
    const char *at = name;
    dim_id dim;
    assert_false(dim_parse(&f->table, &at, &dim, &err));
    assert_int_equal(err.code, ERR_LIMIT);
}

static void test_where_parsing_stops(void **state)
{
    struct fixture *f = *state;
    static const char *const cases[][3] = {
        {" B*S, 3]", "B*S", ", 3]"}, {"B ]", "B", " ]"}, {"B -> S", "B", " -> S"},
        {"2 / 3", "2", " / 3"},      {"B)", "B", ")"},   {"min(B, 3) x", "min(B, 3)", " x"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error err = {0};
        const char *at = cases[i][0];
        dim_id dim;
        assert_true(dim_parse(&f->table, &at, &dim, &err));
        assert_int_equal(dim, parse(f, cases[i][1]));
        assert_string_equal(at, cases[i][2]);
    }
}

/* Damaged text never does more than fail; what parses prints and parses back. */
static void test_random_text(void **state)
{
    struct fixture *f = *state;
    static const char *const tokens[] = {"B",  "S", "H", "(", ")",    "+",    "-", "*", "//",
                                         "12", "3", "0", ",", "max(", "min(", " ", "1", "x"};
    uint32_t parsed = 0;
    for (int i = 0; i < 20000; i++) {
        struct strbuf text;
        strbuf_init(&text, &f->arena);
        for (uint32_t n = 1 + pick(f, 12); n > 0; n--)
            strbuf_puts(&text, tokens[pick(f, sizeof tokens / sizeof *tokens)]);
        struct error err = {0};
        const char *at = text.data;
        dim_id dim;
        if (dim_parse(&f->table, &at, &dim, &err)) {
            parsed++;
            assert_true(at > text.data && at <= text.data + text.size_bytes);
            assert_int_equal(parse(f, print(f, dim)), dim);
        } else {
            assert_true(err.code != ERR_NONE && err.message[0] != '\0');
        }
    }
    assert_true(parsed > 2000);
}

static void test_declare(void **state)
{
    struct fixture *f = *state;
    struct error err;
    char long_name[300] = {0};
    memset(long_name, 'n', sizeof long_name - 1);
    const struct {
        const char *name;
        int64_t min, max, multiple_of, typical;
    } bad[] = {
        {"B", 1, 2, 1, 0},  {"", 1, 2, 1, 0},    {"1x", 1, 2, 1, 0},
        {".x", 1, 2, 1, 0}, {"a-b", 1, 2, 1, 0}, {"x y", 1, 2, 1, 0},
        {"M", -1, 2, 1, 0}, {"M", 3, 2, 1, 0},   {"M", 1, LIMIT_DIM_VALUE + 1, 1, 0},
        {"M", 1, 2, 0, 0},  {"M", 5, 7, 4, 0},   {"M", 1, 8, 1, 9},
        {"M", 4, 8, 4, 6},  {"M", 1, 8, 1, -1},  {long_name, 1, 2, 1, 0},
    };
    uint32_t index = 99;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const struct dim_name name = {bad[i].name,        bad[i].min,     bad[i].max,
                                      bad[i].multiple_of, bad[i].typical, NULL};
        assert_false(dim_declare(&f->table, &name, &index, &err));
        assert_int_equal(err.code, ERR_BLUEPRINT);
    }
    assert_int_equal(index, 99);
    char name[8];
    for (uint32_t i = NAME_COUNT; i <= LIMIT_NAMED_DIMS; i++) {
        snprintf(name, sizeof name, "d%u", i); /* copied: the buffer is used again */
        struct dim_name good = {name, 0, LIMIT_DIM_VALUE, 1, 0, NULL};
        assert_int_equal(dim_declare(&f->table, &good, &index, &err), i < LIMIT_NAMED_DIMS);
    }
    assert_int_equal(err.code, ERR_LIMIT);
    assert_true(dim_find_name(&f->table, "d17", &index));
    assert_int_equal(index, 17);
    assert_false(dim_find_name(&f->table, "d32", &index));
    struct dim_table empty;
    dim_table_init(&empty, &f->arena);
    assert_int_equal(dim_import(&empty, &f->table, parse(f, "B + 1")), DIM_NONE);
    /* 32 names fill a sum; the constant is one term too many. */
    dim_id sum = dim_const(&f->table, 0);
    for (uint32_t i = 0; i < LIMIT_NAMED_DIMS; i++)
        sum = dim_add(&f->table, sum, dim_named(&f->table, i));
    assert_true(sum != DIM_NONE);
    assert_int_equal(dim_add(&f->table, sum, dim_const(&f->table, 1)), DIM_NONE);
}

static void test_terms(void **state)
{
    struct fixture *f = *state;
    uint32_t count;
    const struct dim_term *terms = dim_terms(&f->table, parse(f, "3*S*B*B - B//2 + 7"), &count);
    assert_int_equal(count, 3);
    assert_int_equal(terms[0].coefficient, 3);
    assert_int_equal(terms[0].atom_count, 3);
    assert_int_equal(terms[0].atoms[0].name, 0);
    assert_int_equal(terms[0].atoms[1].name, 0);
    assert_int_equal(terms[0].atoms[2].name, 1);
    assert_int_equal(terms[1].coefficient, -1);
    assert_int_equal(terms[1].atoms[0].kind, DIM_ATOM_FLOORDIV);
    assert_int_equal(terms[1].atoms[0].b, dim_const(&f->table, 2));
    assert_int_equal(terms[2].coefficient, 7);
    assert_int_equal(terms[2].atom_count, 0);
    dim_terms(&f->table, dim_const(&f->table, 0), &count);
    assert_int_equal(count, 0);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_random_trees),
        TEST(test_identities),
        TEST(test_simplification),
        TEST(test_division),
        TEST(test_facts),
        TEST(test_limits),
        TEST(test_printed_depth_parses),
        TEST(test_bad_text),
        TEST(test_where_parsing_stops),
        TEST(test_random_text),
        TEST(test_declare),
        TEST(test_terms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
