// What the conformance kit asks of a handler; see runtimes/conformance/README.md.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nuclio/nuclio-sdk-go"
)

func Handler(context *nuclio.Context, event nuclio.Event) (interface{}, error) {
	word, argument, _ := strings.Cut(strings.TrimPrefix(event.GetPath(), "/"), "/")
	number, _ := strconv.Atoi(argument)
	switch word {
	case "headers":
		headers := map[string]interface{}{"X-Out": []string{"a", "b"}, "X-Empty": ""}
		headers["X-Seen"] = event.GetHeaders()["X-In"]
		return nuclio.Response{Headers: headers}, nil
	case "status":
		return nuclio.Response{StatusCode: number}, nil
	case "error":
		return nil, errors.New("failed on purpose")
	case "print":
		fmt.Println("printed by the handler")
		return nil, nil
	case "logs":
		for i := 0; i < number; i++ {
			context.Logger.InfoWith("one of many records, each as long as this", "number", i)
		}
		return nil, nil
	case "size":
		return bytes.Repeat([]byte("x"), number), nil
	case "sleep":
		time.Sleep(200 * time.Millisecond)
	}
	return event.GetBody(), nil
}
