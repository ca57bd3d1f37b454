# Returns when this Envoy has no request left, or after $1 seconds: until then it serves, and closes connections after
# each answer. Kubernetes sends SIGTERM afterwards.
ask() {
    exec 3<>"/dev/tcp/127.0.0.1/${ADMIN_PORT:-9901}"
    printf '%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n' "$1" "$2" >&3
    cat <&3
}
end=$((SECONDS + $1))
ask POST '/drain_listeners?graceful&skip_exit' >/dev/null
sleep "${SETTLE_SECONDS:-10}" # in which clients learn that this pod is going
while ((SECONDS < end)); do
    ask GET '/stats?filter=^http.front.downstream_rq_active$' | grep -q 'active: 0' && exit
    sleep 1
done
