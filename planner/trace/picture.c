#include "planner/trace/picture.h"

#define WIDTH 960
#define LEFT 56
#define RIGHT 16
#define PANEL 150 /* height of one panel */
#define TOP 40
#define GAP 34

struct panel {
    const char *title, *colour;
    double (*value)(const struct replay_row *row);
    bool bars;
};

static double hosts_of(const struct replay_row *row)
{
    return row->active_hosts;
}

static double cores_of(const struct replay_row *row)
{
    return row->asked;
}

static double watts_of(const struct replay_row *row)
{
    return row->watts;
}

static double moves_of(const struct replay_row *row)
{
    return row->moves;
}

static const struct panel panels[] = {
    {"hosts in use", "#1f6feb", hosts_of, false},
    {"cores asked for", "#8250df", cores_of, false},
    {"watts", "#bf3989", watts_of, false},
    {"moves ended", "#1a7f37", moves_of, true},
};

static void put_text(FILE *to, const char *text)
{
    for (; *text != '\0'; text++) {
        switch (*text) {
        case '<':
            fputs("&lt;", to);
            break;
        case '&':
            fputs("&amp;", to);
            break;
        default:
            fputc(*text, to);
        }
    }
}

static double highest(const struct panel *p, const struct replay_row *rows, int n)
{
    double most = 0;
    for (int i = 0; i < n; i++)
        most = MAX(most, p->value(&rows[i]));
    return most > 0 ? most : 1;
}

static double x_of(int i, int n)
{
    return LEFT + (double)i / MAX(n, 1) * (WIDTH - LEFT - RIGHT);
}

static void put_bars(FILE *to, const struct panel *p, const struct replay_row *rows, int n,
                     double bottom, double scale)
{
    double width = MAX(x_of(1, n) - x_of(0, n) - 0.4, 0.6);
    for (int i = 0; i < n; i++) {
        double height = p->value(&rows[i]) * scale;
        if (height > 0)
            fprintf(to,
                    "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"%s\"/>\n",
                    x_of(i, n), bottom - height, width, height, p->colour);
    }
}

static void put_line(FILE *to, const struct panel *p, const struct replay_row *rows, int n,
                     double bottom, double scale)
{
    fprintf(to, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"1.5\" points=\"", p->colour);
    for (int i = 0; i < n; i++) {
        double y = bottom - p->value(&rows[i]) * scale;
        fprintf(to, "%.1f,%.1f %.1f,%.1f ", x_of(i, n), y, x_of(i + 1, n), y);
    }
    fputs("\"/>\n", to);
}

static void put_panel(FILE *to, const struct panel *p, const struct replay_row *rows, int n, int k)
{
    double top = TOP + k * (double)(PANEL + GAP), bottom = top + PANEL;
    double most = highest(p, rows, n);
    fprintf(to, "<text x=\"%d\" y=\"%.0f\" font-weight=\"600\">%s</text>\n", LEFT, top - 8,
            p->title);
    fprintf(to, "<text x=\"%d\" y=\"%.0f\" text-anchor=\"end\">%.4g</text>\n", LEFT - 6, top + 10,
            most);
    fprintf(to, "<text x=\"%d\" y=\"%.0f\" text-anchor=\"end\">0</text>\n", LEFT - 6, bottom);
    fprintf(to, "<path d=\"M%d %.0fV%.0fH%d\" fill=\"none\" stroke=\"#8c959f\"/>\n", LEFT, top,
            bottom, WIDTH - RIGHT);
    if (p->bars)
        put_bars(to, p, rows, n, bottom, PANEL / most);
    else
        put_line(to, p, rows, n, bottom, PANEL / most);
}

static void put_times(FILE *to, const struct replay_row *rows, int n, double y)
{
    for (int i = 0; i <= 4 && n > 0; i++) {
        int at = MIN(i * n / 4, n - 1);
        char text[TIME_TEXT_SIZE];
        time_format(rows[at].at, text);
        fprintf(to, "<text x=\"%.1f\" y=\"%.0f\" text-anchor=\"%s\">%.5s</text>\n", x_of(at, n), y,
                i == 0   ? "start"
                : i == 4 ? "end"
                         : "middle",
                text + 11);
    }
}

void picture_write(FILE *to, const char *title, const struct replay_row *rows, int n)
{
    int height = TOP + (int)ARRAY_SIZE(panels) * (PANEL + GAP) + 10;
    fprintf(to,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" "
            "font-family=\"sans-serif\" font-size=\"12\" fill=\"#24292f\">\n"
            "<rect width=\"%d\" height=\"%d\" fill=\"#ffffff\"/>\n<title>",
            WIDTH, height, WIDTH, height);
    put_text(to, title);
    fprintf(to, "</title>\n<text x=\"%d\" y=\"18\" font-size=\"14\">", LEFT);
    put_text(to, title);
    fputs("</text>\n", to);
    for (int k = 0; k < (int)ARRAY_SIZE(panels); k++)
        put_panel(to, &panels[k], rows, n, k);
    put_times(to, rows, n, height - 22);
    fputs("</svg>\n", to);
}
