// Package resident answers events over standard input and output: the protocol of resident programs
// with framing length. Standard output is taken away from handlers: what they print is log.
package resident

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strconv"
	"strings"

	nuclio "github.com/nuclio/nuclio-sdk-go"
)

// Handler is what users write.
type Handler func(context *nuclio.Context, event nuclio.Event) (interface{}, error)

// Serve answers events until its input ends.
func Serve(handler Handler, initialize func(*nuclio.Context) error) {
	replies := bufio.NewWriter(os.Stdout)
	os.Stdout = os.Stderr
	worker, _ := strconv.Atoi(os.Getenv("NUCLIO_WORKER_ID"))
	context := &nuclio.Context{Logger: logger{}, WorkerID: worker,
		FunctionName:    os.Getenv("NUCLIO_FUNCTION_NAME"),
		FunctionVersion: os.Getenv("NUCLIO_FUNCTION_VERSION"), TriggerKind: "http"}
	if initialize != nil {
		if err := initialize(context); err != nil {
			fmt.Fprintln(os.Stderr, "InitContext failed:", err)
			os.Exit(1)
		}
	}
	requests := bufio.NewReader(os.Stdin)
	for {
		payload, err := next(requests)
		if err != nil {
			if errors.Is(err, io.EOF) {
				return
			}
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		reply := answer(handler, context, read(payload))
		fmt.Fprintf(replies, "%d\n", len(reply))
		// What Write could not do, Flush tells.
		_, _ = replies.Write(reply)
		if replies.Flush() != nil {
			os.Exit(1)
		}
	}
}

func next(requests *bufio.Reader) ([]byte, error) {
	line, err := requests.ReadString('\n')
	if err != nil {
		return nil, err
	}
	length, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || length < 0 {
		return nil, fmt.Errorf("%q is no length", line)
	}
	payload := make([]byte, length)
	_, err = io.ReadFull(requests, payload)
	return payload, err
}

// The bytes of a reply; a panic is a failure of this event only.
func answer(handler Handler, context *nuclio.Context, event nuclio.Event) (reply []byte) {
	defer func() {
		if cause := recover(); cause != nil {
			fmt.Fprintf(os.Stderr, "panic: %v\n%s", cause, debug.Stack())
			reply = failure(fmt.Errorf("panic: %v", cause))
		}
	}()
	result, err := handler(context, event)
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return failure(err)
	}
	reply, err = of(result)
	if err != nil {
		return failure(err)
	}
	return reply
}

func failure(err error) []byte {
	status := 500
	var with nuclio.WithStatusCode
	if errors.As(err, &with) {
		status = with.StatusCode()
	}
	reply, _ := made(status, "", nil, []byte(err.Error()))
	return reply
}

func of(result interface{}) ([]byte, error) {
	switch value := result.(type) {
	case nil:
		return made(200, "", nil, nil)
	case string:
		return made(200, "", nil, []byte(value))
	case []byte:
		return made(200, "", nil, value)
	case nuclio.Response:
		return ofResponse(value)
	case *nuclio.Response:
		return ofResponse(*value)
	}
	body, err := json.Marshal(result)
	if err != nil {
		return nil, err
	}
	return made(200, "application/json", nil, body)
}

func ofResponse(response nuclio.Response) ([]byte, error) {
	status := response.StatusCode
	if status == 0 {
		status = 200
	}
	return made(status, response.ContentType, response.Headers, response.Body)
}

func made(status int, contentType string, headers map[string]interface{}, body []byte) ([]byte, error) {
	var reply bytes.Buffer
	fmt.Fprintf(&reply, "%d\n", status)
	if contentType != "" {
		headers = with(headers, "Content-Type", contentType)
	}
	for name, given := range headers {
		values, are := given.([]string)
		if !are {
			values = []string{fmt.Sprint(given)}
		}
		for _, value := range values {
			if strings.ContainsAny(name+value, "\r\n\x00") {
				return nil, fmt.Errorf("header %q has a line break or a NUL", name)
			}
			fmt.Fprintf(&reply, "%s: %s\n", name, value)
		}
	}
	reply.WriteByte('\n')
	reply.Write(body)
	return reply.Bytes(), nil
}

func with(headers map[string]interface{}, name, value string) map[string]interface{} {
	all := map[string]interface{}{name: value}
	for other, given := range headers {
		if !strings.EqualFold(other, name) {
			all[other] = given
		}
	}
	return all
}
