package resident

import (
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	nuclio "github.com/nuclio/nuclio-sdk-go"
)

// A request of the protocol, as an event.
type event struct {
	method, url, id string
	headers         map[string][]string
	body            []byte
	arrived         time.Time
	parsed          *url.URL
}

type trigger struct{}

func (trigger) GetClass() string { return "sync" }
func (trigger) GetKind() string  { return "http" }
func (trigger) GetName() string  { return "" }

// What the bytes of a request say: a head of lines, an empty line, the body.
func read(payload []byte) *event {
	head, body, _ := strings.Cut(string(payload), "\n\n")
	lines := strings.Split(head, "\n")
	words := strings.SplitN(lines[0], " ", 3)
	for len(words) < 3 {
		words = append(words, "")
	}
	made := &event{method: words[0], url: words[1], id: words[2], headers: map[string][]string{},
		body: []byte(body), arrived: time.Now()}
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ":")
		name = canonical(name)
		made.headers[name] = append(made.headers[name], readable(strings.TrimSpace(value)))
	}
	made.parsed, _ = url.Parse(made.url)
	if made.parsed == nil {
		made.parsed = &url.URL{Path: made.url}
	}
	return made
}

// UTF-8, and where it is not, each byte as its Latin-1 character.
func readable(text string) string {
	if utf8.ValidString(text) {
		return text
	}
	runes := make([]rune, len(text))
	for i := 0; i < len(text); i++ {
		runes[i] = rune(text[i])
	}
	return string(runes)
}

func (e *event) GetID() nuclio.ID                           { return nuclio.ID(e.id) }
func (e *event) GetTriggerInfo() nuclio.TriggerInfoProvider { return trigger{} }
func (e *event) GetContentType() string                     { return e.GetHeaderString("Content-Type") }
func (e *event) GetBody() []byte                            { return e.body }
func (e *event) GetHeaderByteSlice(key string) []byte       { return []byte(e.GetHeaderString(key)) }
func (e *event) GetHeaderInt(key string) (int, error)       { return strconv.Atoi(e.GetHeaderString(key)) }
func (e *event) GetFieldByteSlice(key string) []byte        { return []byte(e.GetFieldString(key)) }
func (e *event) GetFieldString(key string) string           { return e.parsed.Query().Get(key) }
func (e *event) GetField(key string) interface{}            { return e.GetFieldString(key) }
func (e *event) GetFieldInt(key string) (int, error)        { return strconv.Atoi(e.GetFieldString(key)) }
func (e *event) GetTimestamp() time.Time                    { return e.arrived }
func (e *event) GetPath() string                            { return e.parsed.Path }
func (e *event) GetURL() string                             { return e.url }
func (e *event) GetMethod() string                          { return e.method }
func (e *event) GetSize() int                               { return len(e.body) }
func (e *event) GetHeader(key string) interface{}           { return e.GetHeaderString(key) }

func (e *event) GetHeaderString(key string) string {
	if values := e.headers[canonical(key)]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// A header's name as Go writes it: `content-type` becomes `Content-Type`.
func canonical(name string) string {
	bytes := []byte(strings.ToLower(name))
	for i, b := range bytes {
		if (i == 0 || bytes[i-1] == '-') && 'a' <= b && b <= 'z' {
			bytes[i] = b - 'a' + 'A'
		}
	}
	return string(bytes)
}

func (e *event) GetHeaders() map[string]interface{} {
	all := map[string]interface{}{}
	for name, values := range e.headers {
		if len(values) == 1 {
			all[name] = values[0]
		} else {
			all[name] = values
		}
	}
	return all
}

func (e *event) GetFields() map[string]interface{} {
	all := map[string]interface{}{}
	for name, values := range e.parsed.Query() {
		all[name] = values[0]
	}
	return all
}
