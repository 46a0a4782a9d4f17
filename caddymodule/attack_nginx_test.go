package caddymodule_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// startNginx runs nginx with one server block and returns where it listens.
func startNginx(t *testing.T, server string) string {
	t.Helper()
	program, err := exec.LookPath("nginx")
	if err != nil {
		t.Fatalf("nginx is missing, which these tests put before the gate; on Debian: apt-get install nginx-light: %v", err)
	}
	folder, address := t.TempDir(), strings.TrimPrefix(freeOrigin(t), "http://")
	user := ""
	if os.Getuid() == 0 {
		user = "user root;" // else its workers may not write where root made the folder
	}
	config := fmt.Sprintf(`daemon off;
%[4]s
pid %[1]s/pid;
error_log %[1]s/error.log;
worker_processes 1;
events { worker_connections 256; }
http {
	access_log off;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	proxy_cache_path %[1]s/cache keys_zone=shared:1m;
	server {
		listen %[2]s;
		%[3]s
	}
}
`, folder, address, server, user)
	writeTestFile(t, filepath.Join(folder, "nginx.conf"), config)
	var said bytes.Buffer
	command := exec.Command(program, "-p", folder, "-e", filepath.Join(folder, "error.log"), "-c", filepath.Join(folder, "nginx.conf"))
	command.Stderr = &said
	// In a process group of its own, so that its workers end with it.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { command.Wait(); close(exited) }()
	t.Cleanup(func() {
		syscall.Kill(-command.Process.Pid, syscall.SIGKILL)
		<-exited
	})
	for deadline := time.Now().Add(20 * time.Second); ; {
		if connection, err := net.Dial("tcp", address); err == nil {
			connection.Close()
			return address
		}
		select {
		case <-exited:
			logged, _ := os.ReadFile(filepath.Join(folder, "error.log"))
			t.Fatalf("nginx ended: %s%s", said.String(), logged)
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatal("nginx does not answer")
		}
	}
}

// TestAttackSmugglingThroughNginx does the same through a proxy that cuts
// requests by itself.
func TestAttackSmugglingThroughNginx(t *testing.T) {
	gate := startGate(t, site{matcher: "/paid/*", upstream: http.HandlerFunc(laxUpstream)})
	front := startNginx(t, fmt.Sprintf(`location / {
			proxy_pass http://%[1]s;
			proxy_http_version 1.1;
			proxy_set_header Host %[1]s;
			proxy_set_header Connection "";
			proxy_request_buffering off;
		}`, addressOf(gate)))
	smuggle(t, front, addressOf(gate))
}

// TestNginxAsASharedCache puts nginx before the gate, told to cache everything
// that it may.
func TestNginxAsASharedCache(t *testing.T) {
	gate := startGate(t, site{payword: "reread off", upstream: http.HandlerFunc(cacheable)})
	front := startNginx(t, fmt.Sprintf(`location / {
			proxy_pass http://%[1]s;
			proxy_set_header Host %[1]s;
			proxy_cache shared;
			add_header X-Cache $upstream_cache_status always;
		}`, addressOf(gate)))
	p := newPayer(t, wish{name: "nginx", vendor: gate.vendor})
	checkSharedCache(t, gate, front, p)
}

// cacheable answers what a shared cache would gladly keep.
func cacheable(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "public, max-age=600, s-maxage=600, immutable")
	w.Header().Set("Expires", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat))
	w.Header().Set("Etag", `"one"`)
	w.Header().Set("Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT")
	w.Header().Set("Age", "5")
	w.Header().Set("CDN-Cache-Control", "max-age=600")
	w.Header().Set("Surrogate-Control", "max-age=600")
	w.Header().Set("X-Accel-Expires", "600")
	w.Header().Set("Edge-Control", "max-age=600")
	if strings.HasSuffix(r.URL.Path, ".gone") {
		w.WriteHeader(http.StatusNotFound)
	}
	io.WriteString(w, secretContent)
}
