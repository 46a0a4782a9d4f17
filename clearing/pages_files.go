package clearing

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/paywordhq/payword/clearing/statement"
	"github.com/paywordhq/payword/internal/ledger"
)

// fileRow is a file of a run.
type fileRow struct {
	Name     string
	Bytes    int64
	Modified time.Time
}

// filesOf returns the files of a run that are in the folder.
func (s *Server) filesOf(ctx context.Context, run Settlement) (found []fileRow, err error) {
	if run.State != StateClosed && run.State != StateFinal {
		return nil, nil // they are made when it is closed
	}
	names, err := FileNames(ctx, s.db, run.RunID)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		info, err := s.files.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if info.Mode().IsRegular() {
			found = append(found, fileRow{info.Name(), info.Size(), info.ModTime().UTC()})
		}
	}
	return found, nil
}

// mediaTypes are those of the files by how their names end.
var mediaTypes = map[string]string{
	"txt": "text/plain; charset=utf-8", "json": "application/json", "csv": "text/csv; charset=utf-8", "xml": "application/xml",
}

// download sends a file of a run. Its name must be one that the run has.
func (v *visit) download() {
	s, name := v.server, v.R.PathValue("name")
	run, err := s.run(v.R.Context(), v.R.PathValue("run"))
	if err != nil {
		v.Failed(err)
		return
	}
	files, err := s.filesOf(v.R.Context(), run)
	if err != nil {
		v.Unavailable(err)
		return
	}
	for _, file := range files {
		if file.Name == name {
			v.send(file)
			return
		}
	}
	v.NotFound()
}

// statement sends the statement of a vendor that anybody can check. It is made
// again as it was published, whole before any of it is sent.
func (v *visit) statement() {
	s, ctx := v.server, v.R.Context()
	run, err := s.run(ctx, v.R.PathValue("run"))
	if err != nil {
		v.Failed(err)
		return
	}
	beside, err := os.CreateTemp("", "payword-statement-*")
	if err != nil {
		v.Unavailable(err)
		return
	}
	defer func() { _ = errors.Join(beside.Close(), os.Remove(beside.Name())) }() // the system cleans up what is left
	name, err := writeVendorStatement(ctx, s.db, run.RunID, v.R.URL.Query().Get("vendor"), beside)
	switch {
	case errors.Is(err, ErrNoStatement):
		v.NotFound()
	case err != nil:
		v.Unavailable(err)
	default:
		v.sendContent(name, "application/jsonl", beside)
	}
}

// writeVendorStatement writes the statement of a vendor to a file, which is then
// at its beginning, and returns its name.
func writeVendorStatement(ctx context.Context, db *ledger.DB, runID, vendor string, to *os.File) (name string, err error) {
	statements, err := OpenStatements(ctx, db, runID)
	if err != nil {
		return "", err
	}
	if err := statements.Write(ctx, to, statement.Vendor, vendor); err != nil {
		return "", err
	}
	_, err = to.Seek(0, io.SeekStart)
	return statements.FileName(statement.Vendor, vendor), err
}

func (v *visit) send(file fileRow) {
	content, err := v.server.files.Open(file.Name)
	if err != nil {
		v.Unavailable(err)
		return
	}
	defer content.Close()
	mediaType := mediaTypes[file.Name[strings.LastIndexByte(file.Name, '.')+1:]]
	if mediaType == "" {
		mediaType = "application/octet-stream"
	}
	v.sendContent(file.Name, mediaType, content)
}

// sendContent sends a file for keeping. Its name is one of ours: letters, digits,
// "." and "-".
func (v *visit) sendContent(name, mediaType string, content io.Reader) {
	header := v.W.Header()
	header.Set("Content-Type", mediaType)
	header.Set("Content-Disposition", `attachment; filename="`+name+`"`)
	// A large file may take longer than a page.
	_ = http.NewResponseController(v.W).SetWriteDeadline(time.Time{})
	if _, err := io.Copy(v.W, content); err != nil {
		v.server.log.InfoContext(v.R.Context(), "download broke off", "file", name, "error", err)
	}
}
