{{- define "lis.name" -}}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{- end }}

{{- define "lis.labels" -}}
app.kubernetes.io/name: llava-interleave-serve
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "lis.metadata" -}}
labels:
  {{- include "lis.labels" . | nindent 2 }}
  app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
  app.kubernetes.io/managed-by: {{ .Release.Service }}
  helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* What a schema cannot say: values that contradict each other. */}}
{{- define "lis.check" -}}
{{- with .Values -}}
{{- if gt (int .autoscaling.min) (int .autoscaling.max) -}}
{{- fail (printf "autoscaling.min is %d and autoscaling.max is %d: min must not be larger" (int .autoscaling.min) (int .autoscaling.max)) -}}
{{- end -}}
{{- if and .inferencePool.enabled (not .inferencePool.endpointPicker) -}}
{{- fail "inferencePool.enabled needs inferencePool.endpointPicker: the Service of llm-d's endpoint picker" -}}
{{- end -}}
{{- if and (gt (int .nodes) 1) (eq (int .gpus) 0) -}}
{{- fail "nodes above 1 needs gpus: a model is split over machines for their GPUs" -}}
{{- end -}}
{{- if and (eq (int .update.maxSurge) 0) (eq (int .update.maxUnavailable) 0) -}}
{{- fail "update.maxSurge and update.maxUnavailable are both 0: no replica could ever be replaced" -}}
{{- end -}}
{{- if and .models.create .models.existingClaim -}}
{{- fail "models.create and models.existingClaim: give one of them" -}}
{{- end -}}
{{- range .args -}}
{{- if regexMatch "^--(host|port|api[-_]key|drain[-_]delay|drain[-_]timeout|nnodes|node[-_]rank|master[-_]addr)(=|$)" . -}}
{{- fail (printf "args has %s, which the chart sets itself: use its own value (docs/deploy.md)" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* The pod of a replica. Takes .root, and .component: server, or worker for the further machines of a replica. */}}
{{- define "lis.pod" -}}
{{- $component := .component -}}
{{- with .root -}}
metadata:
  labels:
    {{- include "lis.labels" . | nindent 4 }}
    app.kubernetes.io/component: {{ $component }}
  {{- with .Values.podAnnotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  automountServiceAccountToken: false
  enableServiceLinks: false  # a Service called vllm would set VLLM_PORT, which vLLM reads
  terminationGracePeriodSeconds: {{ add .Values.drainDelaySeconds .Values.drainSeconds 20 }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 1000
    runAsGroup: 1000
    fsGroup: 1000
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile: {type: RuntimeDefault}
  containers:
    - name: {{ $component }}
      image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      {{- if eq $component "worker" }}
      command: [llava-interleave, worker]
      {{- end }}
      args:
        {{- with .Values.model }}
        - {{ . | quote }}
        {{- end }}
        {{- if gt (int .Values.gpus) 1 }}
        - --tensor-parallel-size={{ .Values.gpus }}
        {{- end }}
        {{- if gt (int .Values.nodes) 1 }}
        - --pipeline-parallel-size={{ .Values.nodes }}
        - --nnodes={{ .Values.nodes }}
        - --node-rank=$(LWS_WORKER_INDEX)
        - --master-addr=$(LWS_LEADER_ADDRESS)
        {{- end }}
        {{- range .Values.args }}
        - {{ . | quote }}
        {{- end }}
        {{- if eq $component "server" }}
        - --drain-delay={{ .Values.drainDelaySeconds }}
        - --drain-timeout={{ .Values.drainSeconds }}
        {{- range $index, $key := .Values.apiKeys }}
        - --api-key=$(API_KEY_{{ $index }})
        {{- end }}
        {{- if and .Values.apiKeys .Values.inferencePool.enabled }}
        - --metrics-without-key
        {{- end }}
        {{- end }}
      {{- if or (and .Values.apiKeys (eq $component "server")) .Values.huggingFaceToken .Values.env }}
      env:
        {{- if eq $component "server" }}
        {{- range $index, $key := .Values.apiKeys }}
        - {name: API_KEY_{{ $index }}, valueFrom: {secretKeyRef: {name: {{ $key.secret | quote }}, key: {{ $key.key | quote }}}}}
        {{- end }}
        {{- end }}
        {{- with .Values.huggingFaceToken }}
        - {name: HF_TOKEN, valueFrom: {secretKeyRef: {name: {{ .secret | quote }}, key: {{ .key | quote }}}}}
        {{- end }}
        {{- with .Values.env }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- end }}
      {{- if eq $component "server" }}
      ports: [{name: http, containerPort: 8000}]
      startupProbe: {httpGet: {path: /ready, port: http}, periodSeconds: 5, timeoutSeconds: 5, failureThreshold: {{ mul .Values.startupMinutes 12 }}}
      # Not /ready: the process ends by itself when its engine has died.
      livenessProbe: {httpGet: {path: /health, port: http}, periodSeconds: 10, timeoutSeconds: 5, failureThreshold: 6}
      readinessProbe: {httpGet: {path: /ready, port: http}, periodSeconds: 5, timeoutSeconds: 5, failureThreshold: 2}
      {{- end }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {drop: [ALL]}
      resources:
        requests: {{- toYaml .Values.resources.requests | nindent 10 }}
        limits:
          {{- toYaml .Values.resources.limits | nindent 10 }}
          {{- if gt (int .Values.gpus) 0 }}
          nvidia.com/gpu: {{ .Values.gpus }}
          {{- end }}
      volumeMounts:
        - {name: models, mountPath: /models}
        - {name: tmp, mountPath: /tmp}
        - {name: shm, mountPath: /dev/shm}
  volumes:
    - name: models
      {{- if .Values.models.create }}
      persistentVolumeClaim: {claimName: {{ include "lis.name" . }}-models}
      {{- else if .Values.models.existingClaim }}
      persistentVolumeClaim: {claimName: {{ .Values.models.existingClaim }}}
      {{- else }}
      emptyDir: {}
      {{- end }}
    - {name: tmp, emptyDir: {}}
    - {name: shm, emptyDir: {medium: Memory, sizeLimit: {{ .Values.sharedMemory }}}}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "lis.labels" . | nindent 10 }}
          app.kubernetes.io/component: {{ $component }}
  {{- with .Values.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}
