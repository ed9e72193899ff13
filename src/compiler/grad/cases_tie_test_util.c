/* Cases at which rules are easily wrong, with the gradients that they must have where all
 * cotangents are 1: by hand, from the table of subgradients. */
#include "compiler/grad/cases_test_util.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "compiler/grad/grad_test_util.h"
#include "graph/interp_test_util.h"

#define MOST 8

struct tie {
    const char *name, *text;
    double sources[4][MOST];   /* inputs, then params */
    double gradients[4][MOST]; /* of floats */
};

#define X "%1 = input \"x\" : f64"
#define Y "output \"y\" "
#define PAIR(prim, n) \
    X "[" n "]\n%2 = input \"b\" : f64[" n "]\n%3 = " prim " %1, %2 : f64[" n "]\n" Y "%3\n"
#define ONE(prim, attrs, from, to) \
    X "[" from "]\n%2 = " prim " %1" attrs " : f64[" to "]\n" Y "%2\n"
#define BOUND(prim, bound, order)                                                 \
    X "[3]\n%2 = const " bound " : f64[]\n%3 = broadcast %2 {axes []} : f64[3]\n" \
      "%4 = " prim " " order " : f64[3]\n" Y "%4\n"
#define SCATTER(mode)                                               \
    X "[3]\n%2 = input \"i\" : i64[4]\n%3 = input \"u\" : f64[4]\n" \
      "%4 = scatter %1, %2, %3 {axis 0, mode " mode "} : f64[3]\n" Y "%4\n"
/* f(x) where x is above a bound, which is %3, else 7: the slope of f below it does not count. */
#define GUARDED(bound, lines, last, id)                                           \
    X "[3]\n%2 = const " bound " : f64[]\n%3 = broadcast %2 {axes []} : f64[3]\n" \
      "%4 = lt %3, %1 : bool[3]\n%5 = const 7 : f64[]\n"                          \
      "%6 = broadcast %5 {axes []} : f64[3]\n" lines "%" id " = select %4, " last \
      ", %6 : f64[3]\n" Y "%" id "\n"

static const struct tie ties[] = {
    {"abs", ONE("abs", "", "3", "3"), {{-2, 0, 3}}, {{-1, 0, 1}}},
    {"max", PAIR("max", "3"), {{1, 2, 3}, {1, 1, 4}}, {{0.5, 1, 0}, {0.5, 0, 1}}},
    {"min", PAIR("min", "3"), {{1, 2, 3}, {1, 1, 4}}, {{0.5, 0, 1}, {0.5, 1, 0}}},
    {"max of a constant", BOUND("max", "0", "%1, %3"), {{-1, 0, 2}}, {{0, 0, 1}}},
    {"max of a constant, first", BOUND("max", "0", "%3, %1"), {{-1, 0, 2}}, {{0, 0, 1}}},
    {"min of a constant", BOUND("min", "2", "%1, %3"), {{1, 2, 3}}, {{1, 0, 0}}},
    {"min of a constant, first", BOUND("min", "2", "%3, %1"), {{1, 2, 3}}, {{1, 0, 0}}},
    {"max of infinities",
     PAIR("max", "3"),
     {{INFINITY, -INFINITY, 3}, {1, 1, -INFINITY}},
     {{1, 0, 1}, {0, 1, 0}}},
    {"rem", PAIR("rem", "3"), {{5, -5, 5.5}, {3, 3, -2}}, {{1, 1, 1}, {-1, 2, 3}}},
    {"pow",
     PAIR("pow", "5"),
     {{0, 0, 2, 0, 3}, {0, 2, 0, 1, 2}},
     {{0, 0, 0, 1, 6}, {0, 0, 0.69314718055994530942, 0, 9.8875105980129874}}},
    {"reduce_max",
     ONE("reduce_max", " {axes [0]}", "4", ""),
     {{3, 1, 3, 3}},
     {{1 / 3., 0, 1 / 3., 1 / 3.}}},
    {"reduce_min",
     ONE("reduce_min", " {axes [1]}", "2, 3", "2"),
     {{1, 2, 1, 4, 5, 4}},
     {{0.5, 0, 0.5, 0.5, 0, 0.5}}},
    {"reduce_max of an infinity",
     ONE("reduce_max", " {axes [0]}", "3", ""),
     {{1, INFINITY, 3}},
     {{0, 1, 0}}},
    {"reduce_prod, one zero", ONE("reduce_prod", " {axes [0]}", "3", ""), {{2, 0, 3}}, {{0, 6, 0}}},
    {"reduce_prod, two zeros", ONE("reduce_prod", " {axes [0]}", "3", ""), {{0, 0, 3}}, {{0}}},
    {"cum_prod, a zero",
     ONE("cum_prod", " {axis 0, exclusive false, reverse false}", "3", "3"),
     {{2, 0, 3}},
     {{1, 8, 0}}},
    {"cum_prod, backwards",
     ONE("cum_prod", " {axis 0, exclusive true, reverse true}", "3", "3"),
     {{2, 0, 3}},
     {{0, 3, 1}}},
    {"cum_max",
     ONE("cum_max", " {axis 0, exclusive false, reverse false}", "5", "5"),
     {{1, 3, 3, 2, 3}},
     {{1, 1, 2, 0, 1}}},
    {"cum_max, exclusive",
     ONE("cum_max", " {axis 0, exclusive true, reverse false}", "5", "5"),
     {{1, 3, 3, 2, 3}},
     {{1, 1, 2, 0, 0}}},
    {"cum_max, backwards",
     ONE("cum_max", " {axis 0, exclusive false, reverse true}", "5", "5"),
     {{1, 3, 3, 2, 3}},
     {{0, 2, 1, 0, 2}}},
    {"window_max",
     ONE("window_max", " {window [size 2 stride 1 low 0 high 0 dilation 1 base 1]}", "5", "4"),
     {{1, 2, 2, 1, 2}},
     {{0, 2, 1, 0, 1}}},
    {"window_max, padded",
     ONE("window_max", " {window [size 2 stride 2 low 1 high 3 dilation 1 base 1]}", "3", "3"),
     {{-5, -2, -2}},
     {{1, 1, 0}}},
    {"scatter set",
     SCATTER("set"),
     {{1, 2, 3}, {0, 0, 5, -1}, {7, 8, 9, 4}},
     {{0, 1, 1}, {0}, {0, 1, 0, 0}}},
    {"scatter add",
     SCATTER("add"),
     {{1, 2, 3}, {0, 0, 5, -1}, {7, 8, 9, 4}},
     {{1, 1, 1}, {0}, {1, 1, 0, 0}}},
    {"scatter max",
     SCATTER("max"),
     {{5, 1, 9}, {0, 0, 1, 3}, {5, 3, 2, 9}},
     {{0.5, 0, 1}, {0}, {0.5, 0, 1, 0}}},
    {"scatter min",
     SCATTER("min"),
     {{5, 3, -9}, {0, 0, 1, 3}, {5, 5, 2, 9}},
     {{1 / 3., 0, 1}, {0}, {1 / 3., 1 / 3., 1, 0}}},
    {"take beyond the ends",
     X "[3]\n%2 = input \"i\" : i8[4]\n%3 = take %1, %2 {axis 0} : f64[4]\n" Y "%3\n",
     {{1, 2, 3}, {-5, 1, 9, 127}},
     {{1, 1, 2}}},
    {"gather beyond the ends",
     X "[3]\n%2 = input \"i\" : u8[4]\n%3 = gather %1, %2 {axis 0} : f64[4]\n" Y "%3\n",
     {{1, 2, 3}, {0, 1, 9, 255}},
     {{1, 1, 2}}},
    {"cast through an integer",
     X "[3]\n%2 = cast %1 : i32[3]\n%3 = cast %2 : f64[3]\n"
       "%4 = mul %3, %1 : f64[3]\n" Y "%4\n",
     {{1.5, -2.5, 3.5}},
     {{1, -2, 3}}},
    {"steps",
     X "[3]\n%2 = floor %1 : f64[3]\n%3 = ceil %1 : f64[3]\n%4 = round %1 : f64[3]\n"
       "%5 = trunc %1 : f64[3]\n%6 = sign %1 : f64[3]\n%7 = add %2, %3 : f64[3]\n"
       "%8 = add %4, %5 : f64[3]\n%9 = add %6, %7 : f64[3]\n%10 = add %9, %8 : f64[3]\n"
       "%11 = mul %10, %1 : f64[3]\n" Y "%11\n",
     {{1.25, -2.5, 0}},
     {{6, -10, 0}}},
    {"detached",
     X "[3]\n%2 = detach %1 : f64[3]\n%3 = mul %2, %1 : f64[3]\n" Y "%3\n",
     {{1, 2, -3}},
     {{1, 2, -3}}},
    {"max with a detached constant",
     X "[3]\n%2 = const 1 : f64[]\n%3 = detach %2 : f64[]\n"
       "%4 = broadcast %3 {axes []} : f64[3]\n%5 = max %1, %4 : f64[3]\n" Y "%5\n",
     {{0, 1, 2}},
     {{0, 0.5, 1}}},
    {"pooled norms, some of zeros",
     X "[4]\n%2 = mul %1, %1 : f64[4]\n%3 = const 0 : f64[]\n"
       "%4 = pad %2, %3 {low [1], high [1]} : f64[6]\n"
       "%5 = window_sum %4 {window [size 2 stride 2 low 0 high 0 dilation 1 base 1]} : f64[3]\n"
       "%6 = sqrt %5 : f64[3]\n" Y "%6\n",
     {{0, 0, 0, 2}},
     {{0, 0, 0, 1}}},
    {"a norm of zeros",
     X "[2]\n%2 = mul %1, %1 : f64[2]\n%3 = reduce_sum %2 {axes [0]} : f64[]\n"
       "%4 = sqrt %3 : f64[]\n" Y "%4\n",
     {{0, 0}},
     {{0, 0}}},
    {"outputs that are inputs, and twice the same; what nothing needs",
     X "[2]\n%2 = input \"unused\" : f64[2]\n%3 = param \"dead\" : f64[2]\n%4 = neg %1 : f64[2]\n"
       "output \"a\" %1\noutput \"b\" %1\noutput \"c\" %4\noutput \"d\" %4\noutput \"e\" %4\n",
     {{1, 2}, {3, 4}, {5, 6}},
     {{-1, -1}, {0}, {0}}},
    {"params before inputs",
     "%1 = param \"w\" : f64[2]\n%2 = input \"i\" : i64[2]\n%3 = input \"x\" : f64[2]\n"
     "%4 = take %1, %2 {axis 0} : f64[2]\n%5 = mul %4, %3 : f64[2]\n" Y "%5\n",
     {{1, 1}, {3, 4}, {5, 6}},
     {{0}, {6, 6}, {0, 7}}},
    {"an operand twice",
     X "[3]\n%2 = mul %1, %1 : f64[3]\n%3 = div %2, %1 : f64[3]\n" Y "%3\n",
     {{1, 2, -3}},
     {{1, 1, 1}}},
    {"masked scores",
     X "[3]\n%2 = input \"mask\" : bool[3]\n%3 = const -inf : f64[]\n"
       "%4 = broadcast %3 {axes []} : f64[3]\n%5 = select %2, %1, %4 : f64[3]\n"
       "%6 = exp %5 : f64[3]\n%7 = reduce_sum %6 {axes [0]} : f64[]\n%8 = log %7 : f64[]\n" Y
       "%8\n",
     {{0, 5, 0}, {1, 0, 1}},
     {{0.5, 0, 0.5}}},
    {"guarded log", GUARDED("0", "%7 = log %1 : f64[3]\n", "%7", "8"), {{-1, 0, 2}}, {{0, 0, 0.5}}},
    {"guarded log2",
     GUARDED("0", "%7 = log2 %1 : f64[3]\n", "%7", "8"),
     {{-1, 0, 2}},
     {{0, 0, 0.72134752044448170368}}},
    {"guarded log1p",
     GUARDED("-1", "%7 = log1p %1 : f64[3]\n", "%7", "8"),
     {{-2, -1, 1}},
     {{0, 0, 0.5}}},
    {"guarded sqrt",
     GUARDED("0", "%7 = sqrt %1 : f64[3]\n", "%7", "8"),
     {{-1, 0, 4}},
     {{0, 0, 0.25}}},
    {"guarded rsqrt",
     GUARDED("0", "%7 = rsqrt %1 : f64[3]\n", "%7", "8"),
     {{-1, 0, 4}},
     {{0, 0, -0.0625}}},
    {"guarded quotient",
     GUARDED("0",
             "%7 = sub %3, %1 : f64[3]\n%8 = abs %7 : f64[3]\n"
             "%9 = div %8, %1 : f64[3]\n",
             "%9", "10"),
     {{-1, 0, 2}},
     {{0, 0, 0}}},
    {"guarded power",
     GUARDED("0",
             "%7 = const 0.5 : f64[]\n%8 = broadcast %7 {axes []} : f64[3]\n"
             "%9 = pow %1, %8 : f64[3]\n",
             "%9", "10"),
     {{-1, 0, 4}},
     {{0, 0, 0.25}}},
    {"guarded exponent",
     GUARDED("-5", "%7 = neg %1 : f64[3]\n%8 = exp %7 : f64[3]\n", "%8", "9"),
     {{-1000, -2000, 0}},
     {{0, 0, -1}}},
    {"guarded product",
     GUARDED("0",
             "%7 = log %1 : f64[3]\n%8 = mul %7, %1 : f64[3]\n"
             "%9 = reshape %8 : f64[3]\n",
             "%9", "10"),
     {{-1, 0, 1}},
     {{0, 0, 1}}},
    {"guarded tan",
     GUARDED("-9",
             "%7 = const inf : f64[]\n%8 = broadcast %7 {axes []} : f64[3]\n"
             "%9 = mul %8, %1 : f64[3]\n%10 = tanh %9 : f64[3]\n",
             "%10", "11"),
     {{-10, -11, -12}},
     {{0, 0, 0}}},
};

const char *grad_case_tie_name(uint32_t index)
{
    return index < sizeof ties / sizeof *ties ? ties[index].name : NULL;
}

static bool parse(struct bed *bed, const struct tie *tie, struct graph *graph)
{
    size_t size = strlen(tie->text) + 16;
    char *text = arena_alloc(&bed->arena, size, 1);
    int written = snprintf(text, size, "graph \"g\"\n%s", tie->text);
    return graph_parse(graph, &bed->arena, text, (size_t)written, &bed->err);
}

static bool wrong(struct error *err, const struct tie *tie, double got, uint32_t source,
                  uint32_t element)
{
    *err = (struct error){.code = ERR_VERIFY};
    snprintf(err->message, sizeof err->message, "source %u, element %u: %.15g, expected %.15g",
             source, element, got, tie->gradients[source][element]);
    return fail_at(err, "%s", tie->name);
}

bool grad_case_tie(struct bed *bed, uint32_t index)
{
    const struct tie *tie = &ties[index];
    struct graph graph;
    struct sides sides = {0};
    bool moving = false;
    arena_release(&bed->arena);
    if (!parse(bed, tie, &graph))
        return fail_at(&bed->err, "%s", tie->name);
    struct point p = {&bed->arena, &graph, NULL, NULL, 0, index, true, NULL};
    grad_point_init(&p);
    for (uint32_t s = 0; s < p.source_count; s++)
        for (int64_t e = 0; e < p.sources[s].count; e++)
            if (dtype_is_float(p.sources[s].dtype))
                p.sources[s].cells[e].f = tie->sources[s][e];
            else
                p.sources[s].cells[e].i = (int64_t)tie->sources[s][e];
    struct interp_tensor *got = ARENA_ARRAY(&bed->arena, struct interp_tensor, p.source_count);
    if (!grad_compare(&p, &moving, &bed->err) || !grad_backward(&p, &sides, got, &bed->err))
        return fail_at(&bed->err, "%s", tie->name);
    for (uint32_t s = 0; s < p.source_count; s++)
        for (int64_t e = 0; e < got[s].count; e++)
            if (!(fabs(got[s].cells[e].f - tie->gradients[s][e]) <= 1e-12))
                return wrong(&bed->err, tie, got[s].cells[e].f, s, (uint32_t)e);
    return true;
}
