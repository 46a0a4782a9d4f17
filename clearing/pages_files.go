package clearing

import (
	"errors"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"time"
)

// fileRow is a file of a run.
type fileRow struct {
	Name     string
	Bytes    int64
	Modified time.Time
}

// filesOf returns the files of a run that are in the folder.
func (s *Server) filesOf(runID string) (found []fileRow, err error) {
	for _, kind := range fileKinds {
		info, err := s.files.Lstat(kind.name(runID))
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
	files, err := s.filesOf(run.RunID)
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
	header := v.W.Header()
	header.Set("Content-Type", mediaType)
	// The name is one of fileKinds: a run's id and words of ours.
	header.Set("Content-Disposition", `attachment; filename="`+file.Name+`"`)
	// A large file may take longer than a page.
	_ = http.NewResponseController(v.W).SetWriteDeadline(time.Time{})
	if _, err := io.Copy(v.W, content); err != nil {
		v.server.log.InfoContext(v.R.Context(), "download broke off", "file", file.Name, "error", err)
	}
}
