/* The cheapest agent there can be: for each line of standard input it asks the model once, and says that it is done. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char BODY[] = "{\"model\":\"claude-haiku-4-5\",\"max_tokens\":512,\"stream\":true,"
                           "\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}";

static int all(int to, const char *bytes, size_t count) {
    while (count > 0) {
        ssize_t written = write(to, bytes, count);
        if (written <= 0) return 0;
        bytes += written;
        count -= (size_t)written;
    }
    return 1;
}

static int ask(void) {
    /* Where every name of the gateway's leads to in its sandboxes; the name decides. */
    struct sockaddr_in model = {.sin_family = AF_INET, .sin_port = htons(80)};
    inet_pton(AF_INET, "198.18.0.10", &model.sin_addr);
    char head[512], answer[4096];
    int length = snprintf(head, sizeof head,
                          "POST /v1/messages HTTP/1.1\r\nhost: model.hexward.internal\r\nconnection: close\r\n"
                          "x-api-key: none\r\nanthropic-version: 2023-06-01\r\ncontent-type: application/json\r\n"
                          "content-length: %zu\r\n\r\n",
                          sizeof BODY - 1);
    int to = socket(AF_INET, SOCK_STREAM, 0);
    int good = to >= 0 && connect(to, (struct sockaddr *)&model, sizeof model) == 0 && all(to, head, (size_t)length) &&
               all(to, BODY, sizeof BODY - 1);
    while (good && read(to, answer, sizeof answer) > 0) {
    }
    if (to >= 0) close(to);
    return good;
}

int main(void) {
    static const char DONE[] = "{\"type\":\"result\",\"subtype\":\"success\",\"is_error\":false}\n";
    static const char FAILED[] = "{\"type\":\"result\",\"subtype\":\"error_during_execution\",\"is_error\":true}\n";
    char piece[4096];
    ssize_t count;
    while ((count = read(0, piece, sizeof piece)) > 0) {
        for (ssize_t at = 0; at < count; at++) {
            if (piece[at] != '\n') continue;
            const char *said = ask() ? DONE : FAILED;
            if (!all(1, said, strlen(said))) return 1;
        }
    }
    return 0;
}
