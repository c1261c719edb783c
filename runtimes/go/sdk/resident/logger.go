package resident

import (
	"fmt"
	"os"
	"strings"
)

// Lines on standard error, which are log records of the event at hand.
type logger struct{}

func (logger) line(level string, format interface{}, vars []interface{}) {
	text := fmt.Sprint(format)
	if pattern, is := format.(string); is && len(vars) > 0 {
		text = fmt.Sprintf(pattern, vars...)
	}
	fmt.Fprintln(os.Stderr, level+text)
}

// Names and values in turn.
func (l logger) fields(level string, format interface{}, vars []interface{}) {
	var text strings.Builder
	fmt.Fprint(&text, format)
	for i := 0; i+1 < len(vars); i += 2 {
		fmt.Fprintf(&text, " %v=%v", vars[i], vars[i+1])
	}
	l.line(level, text.String(), nil)
}

func (l logger) Error(format interface{}, vars ...interface{}) { l.line("error: ", format, vars) }
func (l logger) Warn(format interface{}, vars ...interface{})  { l.line("warning: ", format, vars) }
func (l logger) Info(format interface{}, vars ...interface{})  { l.line("", format, vars) }
func (l logger) Debug(format interface{}, vars ...interface{}) { l.line("debug: ", format, vars) }

func (l logger) ErrorWith(format interface{}, vars ...interface{}) { l.fields("error: ", format, vars) }
func (l logger) WarnWith(format interface{}, vars ...interface{}) {
	l.fields("warning: ", format, vars)
}
func (l logger) InfoWith(format interface{}, vars ...interface{})  { l.fields("", format, vars) }
func (l logger) DebugWith(format interface{}, vars ...interface{}) { l.fields("debug: ", format, vars) }
