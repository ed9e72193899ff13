/* Tables: a row for each case; for each peer its time over ours, so that above 1 ours is faster. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "bench.h"

#define NAME_WIDTH 38
#define WIDTH 10
#define ABSENT "—"

static const char *separator(const struct table *table)
{
    return table->options->markdown ? " | " : "  ";
}

static void begin_line(const struct table *table)
{
    fputs(table->options->markdown ? "| " : "", stdout);
}

static void end_line(const struct table *table)
{
    puts(table->options->markdown ? " |" : "");
    fflush(stdout);
}

/* As wide as the heading above it. */
static void print_under(const struct table *table, const char *heading, const char *text)
{
    size_t width = strlen(heading) > WIDTH ? strlen(heading) : WIDTH;
    if (strcmp(text, ABSENT) == 0)
        width += sizeof ABSENT - 2; /* its bytes beyond one column */
    printf("%s%*s", separator(table), table->options->markdown ? 0 : (int)width, text);
}

static void print_text(const struct table *table, const char *text)
{
    print_under(table, "", text);
}

static void print_number_under(const struct table *table, const char *heading, double value,
                               int digits)
{
    char text[32];
    snprintf(text, sizeof text, "%.*f", digits, value);
    print_under(table, heading, text);
}

static void print_number(const struct table *table, double value, int digits)
{
    print_number_under(table, "", value, digits);
}

static void print_name(const struct table *table, const char *name)
{
    begin_line(table);
    printf("%-*s", table->options->markdown ? 0 : NAME_WIDTH, name);
}

void table_begin(struct table *table, const struct table_options *options, const struct peer *peers,
                 uint32_t peer_count)
{
    *table = (struct table){
        .options = options, .peers = peers, .peer_count = peer_count, .worst = INFINITY};
    strbuf_init(&table->notes, options->arena);
    print_name(table, "case");
    print_text(table, "us");
    print_text(table, options->memory ? "GB/s" : "GFLOP/s");
    print_text(table, options->memory ? "% of copy" : "% of peak");
    for (uint32_t i = 0; i < peer_count; i++)
        print_under(table, peers[i].name, peers[i].name);
    if (peer_count > 0)
        print_text(table, "best");
    end_line(table);
    if (!options->markdown)
        return;
    printf("| --- |");
    for (uint32_t i = 0; i < 3 + peer_count + (peer_count > 0); i++)
        printf(" ---: |");
    puts("");
}

/* The peer's time over ours in each round. */
static double ratio_of(const struct contestant *peer, const struct contestant *ours,
                       uint32_t rounds)
{
    double ratios[ROUNDS_MAX];
    for (uint32_t round = 0; round < rounds; round++)
        ratios[round] = peer->ns[round] / ours->ns[round];
    return median(ratios, rounds);
}

static void print_best(struct table *table, const struct table_row *row)
{
    double best = INFINITY;
    uint32_t best_peer = 0;
    for (uint32_t i = 0; i < table->peer_count; i++) {
        const struct contestant *peer = &row->contestants[i + 1];
        if (peer->verdict != VERDICT_TIMED)
            continue;
        double ratio = ratio_of(peer, &row->contestants[0], row->rounds);
        if (ratio < best) {
            best = ratio;
            best_peer = i;
        }
    }
    if (isinf(best)) {
        print_text(table, "");
        return;
    }
    print_number(table, best, 2);
    table->log_sum[0] += log(best);
    table->rows[0]++;
    table->below_count += best < 0.995; /* what is printed as 1.00 is not below */
    if (best < table->worst) {
        table->worst = best;
        snprintf(table->worst_name, sizeof table->worst_name, "%s", row->name);
        snprintf(table->worst_peer, sizeof table->worst_peer, "%s", table->peers[best_peer].name);
    }
}

static void print_peer(struct table *table, const struct table_row *row, uint32_t index)
{
    const struct contestant *peer = &row->contestants[index];
    const char *name = table->peers[index - 1].name;
    if (peer->verdict != VERDICT_TIMED) {
        print_under(table, name, peer->verdict == VERDICT_NONE ? "" : ABSENT);
        if (peer->verdict != VERDICT_NONE)
            table_note(table, "%s, %s: %s", row->name, name,
                       peer->verdict == VERDICT_WRONG ? "its result is another" : peer->reason);
        return;
    }
    double ratio = ratio_of(peer, &row->contestants[0], row->rounds);
    print_number_under(table, name, ratio, 2);
    table->log_sum[index] += log(ratio);
    table->rows[index]++;
}

void table_row(struct table *table, const struct table_row *row)
{
    double times[ROUNDS_MAX];
    memcpy(times, row->contestants[0].ns, sizeof times);
    double ns = median(times, row->rounds);
    bool memory = table->options->memory;
    double rate = (memory ? row->work.bytes : row->work.flops) / ns;
    double share = 1e9 * rate / (memory ? row->peak.bytes_per_s : row->peak.flops);
    print_name(table, row->name);
    print_number(table, ns * 1e-3, ns < 1e5 ? 2 : 0);
    print_number(table, rate, 1);
    print_number(table, 100 * share, 0);
    for (uint32_t i = 1; i <= table->peer_count; i++)
        print_peer(table, row, i);
    if (table->peer_count > 0)
        print_best(table, row);
    end_line(table);
    table->peak_share_sum += log(share);
    table->row_count++;
}

void table_failure(struct table *table, const char *name, const struct error *err)
{
    print_name(table, name);
    printf("%s%s: %s: %s", separator(table), error_name(err->code), err->place, err->message);
    end_line(table);
}

void table_note(struct table *table, const char *format, ...)
{
    char text[2 * REASON_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    for (char *at = text; *at; at++)
        if (*at == '\n')
            *at = ' ';
    strbuf_printf(&table->notes, "- %s\n", text);
}

/* A column's geometric mean; 0 is that of the best. */
static void print_mean(const struct table *table, uint32_t column)
{
    const char *heading = column > 0 ? table->peers[column - 1].name : "";
    if (table->peer_count == 0 || table->rows[column] == 0)
        print_under(table, heading, "");
    else
        print_number_under(table, heading, exp(table->log_sum[column] / table->rows[column]), 2);
}

void table_end(struct table *table)
{
    print_name(table, "geometric mean");
    print_text(table, "");
    print_text(table, "");
    if (table->row_count > 0)
        print_number(table, 100 * exp(table->peak_share_sum / table->row_count), 0);
    for (uint32_t i = 1; i <= table->peer_count; i++)
        print_mean(table, i);
    if (table->peer_count > 0)
        print_mean(table, 0);
    end_line(table);
    if (table->rows[0] > 0)
        printf("\nbest peer over ours: geometric mean %.2f, worst %.2f (%s, %s), "
               "below 1.00: %u of %u\n",
               exp(table->log_sum[0] / table->rows[0]), table->worst, table->worst_name,
               table->worst_peer, table->below_count, table->rows[0]);
    if (table->notes.size_bytes > 0)
        printf("\n%s", table->notes.data);
    puts("");
}
