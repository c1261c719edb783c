// Builds a function in Go and prints the path of the program; run by the shell runtime's worker.
//
// The user's files are compiled where they are: what is generated stands in the user's cache, and an
// overlay shows it to the compiler beside them. Only the standard library is used.
package main

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

const (
	sdkModule = "github.com/nuclio/nuclio-sdk-go"
	generated = "nuclio_generated_main.go"
	goVersion = "1.18"
)

func main() {
	program, err := build(os.Getenv("NUCLIO_CODE_PATH"), os.Getenv("NUCLIO_HANDLER"))
	if err != nil {
		// Words and no path are a refusal; an exit code would add `go run`'s own words.
		fmt.Fprintln(os.Stderr, err)
		return
	}
	fmt.Println(program)
}

func build(code, handler string) (string, error) {
	files, folder, err := sources(code)
	if err != nil {
		return "", err
	}
	found, err := find(files, handler)
	if err != nil {
		return "", err
	}
	own, err := ownFolder(code)
	if err != nil {
		return "", err
	}
	sdk, err := sdkFolder()
	if err != nil {
		return "", err
	}
	overlay := map[string]string{}
	module := filepath.Join(own, "go.mod")
	where := own
	if text, err := os.ReadFile(filepath.Join(folder, "go.mod")); err == nil && len(files) > 0 {
		// A module of the user's: its own requirements, and our SDK in the place of nuclio's.
		where = folder
		if err := write(module, string(text)+requirement(string(text), sdk)); err != nil {
			return "", err
		}
		if err := copySums(folder, own); err != nil {
			return "", err
		}
	} else {
		text := "module function\n\ngo " + goVersion + "\n"
		if err := write(module, text+requirement(text, sdk)); err != nil {
			return "", err
		}
		for _, file := range files {
			overlay[filepath.Join(own, filepath.Base(file))] = file
		}
	}
	mainFile := filepath.Join(own, "main.go.txt")
	if err := write(mainFile, found.main()); err != nil {
		return "", err
	}
	overlay[filepath.Join(where, generated)] = mainFile
	return compile(where, own, module, overlay)
}

// The Go files of the function, and the folder they stand in.
func sources(code string) ([]string, string, error) {
	info, err := os.Stat(code)
	if err != nil {
		return nil, "", err
	}
	if !info.IsDir() && filepath.Base(code) != "go.mod" {
		return []string{code}, filepath.Dir(code) + "/alone", nil
	}
	folder := code
	if !info.IsDir() {
		folder = filepath.Dir(code)
	}
	all, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		return nil, "", err
	}
	files := all[:0]
	for _, file := range all {
		if !strings.HasSuffix(file, "_test.go") {
			files = append(files, file)
		}
	}
	if len(files) == 0 {
		return nil, "", fmt.Errorf("%s has no Go file", folder)
	}
	return files, folder, nil
}

// What of the user's is called.
type functions struct {
	handler string
	hasInit bool
}

func find(files []string, configured string) (functions, error) {
	wanted := configured[strings.LastIndex(configured, ":")+1:]
	var found functions
	var names []string
	set := token.NewFileSet()
	for _, file := range files {
		tree, err := parser.ParseFile(set, file, nil, 0)
		if err != nil {
			return found, err
		}
		if tree.Name.Name != "main" {
			return found, fmt.Errorf("%s is of package %s; write package main", file, tree.Name.Name)
		}
		for _, declared := range tree.Decls {
			function, is := declared.(*ast.FuncDecl)
			if !is || function.Recv != nil {
				continue
			}
			switch {
			case function.Name.Name == "main":
				return found, fmt.Errorf("%s has a function main; leave it out, nuclio has its own", file)
			case function.Name.Name == "InitContext":
				found.hasInit = true
			case isHandler(function.Type):
				names = append(names, function.Name.Name)
			}
		}
	}
	found.handler = choose(names, wanted, filepath.Base(files[0]))
	if found.handler == "" {
		return found, fmt.Errorf("%s: which function handles events? There are: %s. Write "+
			"func Handler(context *nuclio.Context, event nuclio.Event) (interface{}, error), or name one",
			files[0], strings.Join(names, ", "))
	}
	return found, nil
}

// Two parameters, two results.
func isHandler(kind *ast.FuncType) bool {
	return kind.Params.NumFields() == 2 && kind.Results.NumFields() == 2
}

func choose(names []string, wanted, file string) string {
	if wanted == strings.TrimSuffix(file, ".go") {
		wanted = ""
	}
	for _, name := range names {
		if name == wanted || wanted == "" && (name == "Handler" || len(names) == 1) {
			return name
		}
	}
	return ""
}

func (found functions) main() string {
	initializer := "nil"
	if found.hasInit {
		initializer = "InitContext"
	}
	return "// Made by nuclio.\npackage main\n\nimport nuclioresident \"" + sdkModule + "/resident\"\n\n" +
		"func main() { nuclioresident.Serve(" + found.handler + ", " + initializer + ") }\n"
}

// Lines of go.mod that put our SDK in the place of nuclio's.
func requirement(module, sdk string) string {
	lines := "\nreplace " + sdkModule + " => " + sdk + "\n"
	if !strings.Contains(module, sdkModule) {
		lines += "require " + sdkModule + " v0.0.0\n"
	}
	return lines
}

func sdkFolder() (string, error) {
	_, here, _, _ := runtime.Caller(0)
	sdk := filepath.Join(filepath.Dir(here), "sdk")
	if _, err := os.Stat(filepath.Join(sdk, "go.mod")); err != nil {
		return "", fmt.Errorf("the Go SDK is missing: %w; install nuclio anew", err)
	}
	return sdk, nil
}

// Where what is made of this code is kept, from one start to the next.
func ownFolder(code string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	name := fmt.Sprintf("%s-%x", strings.TrimSuffix(filepath.Base(code), ".go"), sha256.Sum256([]byte(code)))
	own := filepath.Join(cache, "nuclio", "go", name[:len(name)-48])
	return own, os.MkdirAll(own, 0o755)
}

// An unchanged file keeps its time; a new one is whole at once, for another worker may read it.
func write(file, text string) error {
	if have, err := os.ReadFile(file); err == nil && string(have) == text {
		return nil
	}
	fresh := fmt.Sprintf("%s.%d", file, os.Getpid())
	if err := os.WriteFile(fresh, []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(fresh, file)
}

func copySums(from, to string) error {
	text, err := os.ReadFile(filepath.Join(from, "go.sum"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return write(filepath.Join(to, "go.sum"), string(text))
}

func compile(where, own, module string, replaced map[string]string) (string, error) {
	text, err := json.Marshal(map[string]any{"Replace": replaced})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(own, "overlay.json")
	if err := write(overlay, string(text)); err != nil {
		return "", err
	}
	program := filepath.Join(own, "function")
	fresh := fmt.Sprintf("%s.%d", program, os.Getpid())
	// The `go` that runs this.
	goProgram := filepath.Join(runtime.GOROOT(), "bin", "go")
	if _, err := os.Stat(goProgram); err != nil {
		goProgram = "go"
	}
	command := exec.Command(goProgram, "build", "-modfile", module, "-overlay", overlay, "-o", fresh, ".")
	command.Dir = where
	command.Env = append(os.Environ(), "GO111MODULE=on", "GOWORK=off")
	if words, err := command.CombinedOutput(); err != nil {
		// Places are told in the user's folder, not in ours.
		told := string(words)
		for ours, theirs := range replaced {
			told = strings.ReplaceAll(told, "./"+filepath.Base(ours), theirs)
		}
		return "", fmt.Errorf("the build failed:\n%s", strings.TrimSpace(told))
	}
	return program, os.Rename(fresh, program)
}
