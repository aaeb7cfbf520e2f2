#include "agent/ctl/table.h"

#include <libsmartcols.h>

#include "agent/ctl/cli.h"
#include "agent/ctl/text.h"

struct table {
    struct libscols_table *table;
    struct libscols_line *line;
    const struct table_column *columns;
    size_t n;
    bool wide;
};

struct table *table_new(const struct table_column *columns, size_t n, bool wide)
{
    struct table *t = xcalloc(1, sizeof *t);
    *t = (struct table){scols_new_table(), NULL, columns, n, wide};
    REQUIRE(t->table != NULL);
    scols_table_enable_colors(t->table, cli_color());
    scols_table_enable_noencoding(t->table, 1); /* the text is tidy already */
    if (columns[0].name == NULL) {
        scols_table_enable_noheadings(t->table, 1);
        scols_table_set_column_separator(t->table, "  ");
    }
    for (size_t i = 0; i < n; i++) {
        const struct table_column *c = &columns[i];
        if (wide || !c->wide)
            scols_table_new_column(t->table, c->name != NULL ? c->name : "", 0,
                                   (c->right ? SCOLS_FL_RIGHT : 0) | (c->cut ? SCOLS_FL_TRUNC : 0) |
                                       (c->wrap ? SCOLS_FL_WRAP : 0));
    }
    return t;
}

void table_line(struct table *t)
{
    t->line = scols_table_new_line(t->table, NULL);
    REQUIRE(t->line != NULL);
}

/* Where a column of ours stands among those shown; -1: not shown. */
static long shown(const struct table *t, size_t column)
{
    long at = 0;
    REQUIRE(column < t->n);
    if (t->columns[column].wide && !t->wide)
        return -1;
    for (size_t i = 0; i < column; i++)
        at += t->wide || !t->columns[i].wide;
    return at;
}

void table_set(struct table *t, size_t column, const char *text)
{
    long at = shown(t, column);
    if (at >= 0)
        scols_line_set_data(t->line, (size_t)at, text);
}

void table_set_state(struct table *t, size_t column, const char *state)
{
    long at = shown(t, column);
    table_set(t, column, state);
    const char *color = text_state_color(state);
    if (at >= 0 && color != NULL)
        scols_cell_set_color(scols_line_get_cell(t->line, (size_t)at), color);
}

void table_print(struct table *t, FILE *to)
{
    scols_table_set_stream(t->table, to);
    if (t->line != NULL)
        scols_print_table(t->table);
    fflush(to);
    scols_unref_table(t->table);
    free(t);
}
