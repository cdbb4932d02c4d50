// One fused training step (forward, MSE readout, BPTT, Adam) of a leaky tanh RNN in hand-written AVX-512, one thread per network: a bound to measure against.
// build: gcc -O3 -march=native -ffast-math -o fused_leaky fused_leaky.c -lm -lpthread   usage: ./fused_leaky N B T repeat threads(ens)
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <math.h>
#include <time.h>
#include <pthread.h>
#include <immintrin.h>
typedef __m512 v;
#define AL 0.2f
static double now(int clk){struct timespec t;clock_gettime(clk,&t);return t.tv_sec+1e-9*t.tv_nsec;}
static inline v vexp(v x){ // e^x for |x|<~80
  v t=_mm512_mul_ps(x,_mm512_set1_ps(1.44269504f)); v r=_mm512_roundscale_ps(t,0); v f=_mm512_sub_ps(t,r);
  v p=_mm512_set1_ps(1.54035304e-4f); p=_mm512_fmadd_ps(p,f,_mm512_set1_ps(1.33335581e-3f)); p=_mm512_fmadd_ps(p,f,_mm512_set1_ps(9.61812911e-3f)); p=_mm512_fmadd_ps(p,f,_mm512_set1_ps(5.55041087e-2f));
  p=_mm512_fmadd_ps(p,f,_mm512_set1_ps(2.40226507e-1f)); p=_mm512_fmadd_ps(p,f,_mm512_set1_ps(6.93147181e-1f)); p=_mm512_fmadd_ps(p,f,_mm512_set1_ps(1.f));
  return _mm512_scalef_ps(p,r);}
static inline v vtanh(v x){ x=_mm512_max_ps(_mm512_min_ps(x,_mm512_set1_ps(9.f)),_mm512_set1_ps(-9.f)); v e=vexp(_mm512_add_ps(x,x)); v one=_mm512_set1_ps(1.f);
  return _mm512_div_ps(_mm512_sub_ps(e,one),_mm512_add_ps(e,one));}
// C[M x 32 block] (+)= A[MxK](lda) * B[Kx32](ldb); 12 rows x 2 zmm accumulators
#define MR 12
static inline __attribute__((always_inline)) void mk(int mr,int K,const float*A,int lda,int as,const float*B,int ldb,v*c0,v*c1){
  for(int k=0;k<K;k++){ v b0=_mm512_loadu_ps(B+(long)k*ldb),b1=_mm512_loadu_ps(B+(long)k*ldb+16);
    #pragma GCC unroll 12
    for(int i=0;i<mr;i++){ v a=_mm512_set1_ps(A[(long)i*lda+(long)k*as]); c0[i]=_mm512_fmadd_ps(a,b0,c0[i]); c1[i]=_mm512_fmadd_ps(a,b1,c1[i]); } } }
typedef struct {int N,B,T,I,O; float *W,*WT,*Win,*b,*Wo,*bo,*u,*tg,*h,*r,*z,*dz,*g[5],*m[5],*s[5];float*p[5];int n[5];int it; double loss;} Net;
static float*al(long n){float*p;if(posix_memalign((void**)&p,64,n*4+256))exit(1);memset(p,0,n*4);return p;}
static float rnd(unsigned*s){*s=*s*1664525u+1013904223u;return ((*s>>8)/(float)(1<<24)-0.5f)*3.46f;}
static Net*mknet(int N,int B,int T,unsigned s){Net*x=calloc(1,sizeof*x);x->N=N;x->B=B;x->T=T;x->I=3;x->O=3;
  x->n[0]=N*N;x->n[1]=3*N;x->n[2]=N;x->n[3]=3*N;x->n[4]=3;for(int i=0;i<5;i++){x->p[i]=al(x->n[i]);x->g[i]=al(x->n[i]);x->m[i]=al(x->n[i]);x->s[i]=al(x->n[i]);}
  x->W=x->p[0];x->Win=x->p[1];x->b=x->p[2];x->Wo=x->p[3];x->bo=x->p[4]; // W[k][n]: z=h W ; Wo[o][n]
  for(int i=0;i<N*N;i++)x->W[i]=rnd(&s)/sqrtf(N);for(int i=0;i<3*N;i++){x->Win[i]=rnd(&s);x->Wo[i]=rnd(&s)/sqrtf(N);}
  x->WT=al(N*N);x->u=al((long)T*B*3);x->tg=al((long)T*B*3);for(long i=0;i<(long)T*B*3;i++){x->u[i]=rnd(&s);x->tg[i]=rnd(&s);}
  x->h=al((long)(T+1)*B*N);x->r=al((long)T*B*N);x->dz=al((long)B*N);x->z=al((long)B*N);return x;}
static void step(Net*x){const int N=x->N,B=x->B,T=x->T;const v va=_mm512_set1_ps(AL),v1a=_mm512_set1_ps(1-AL),one=_mm512_set1_ps(1);
  for(int i=0;i<5;i++)memset(x->g[i],0,x->n[i]*4);
  for(int i=0;i<N;i++)for(int j=0;j<N;j++)x->WT[j*N+i]=x->W[i*N+j];
  #define FWD(mr) { v c0[mr],c1[mr]; for(int i=0;i<mr;i++){const float*uu=u+(m+i)*3; v u0=_mm512_set1_ps(uu[0]),u1=_mm512_set1_ps(uu[1]),u2=_mm512_set1_ps(uu[2]); \
      c0[i]=_mm512_fmadd_ps(u0,_mm512_loadu_ps(x->Win+n),_mm512_fmadd_ps(u1,_mm512_loadu_ps(x->Win+N+n),_mm512_fmadd_ps(u2,_mm512_loadu_ps(x->Win+2*N+n),_mm512_loadu_ps(x->b+n)))); \
      c1[i]=_mm512_fmadd_ps(u0,_mm512_loadu_ps(x->Win+n+16),_mm512_fmadd_ps(u1,_mm512_loadu_ps(x->Win+N+n+16),_mm512_fmadd_ps(u2,_mm512_loadu_ps(x->Win+2*N+n+16),_mm512_loadu_ps(x->b+n+16))));} \
      mk(mr,N,h+(long)m*N,N,1,x->W+n,N,c0,c1); \
      for(int i=0;i<mr;i++){long o=(long)(m+i)*N+n; v r0=vtanh(c0[i]),r1=vtanh(c1[i]); _mm512_storeu_ps(r+o,r0);_mm512_storeu_ps(r+o+16,r1); \
        _mm512_storeu_ps(hn+o,_mm512_fmadd_ps(va,r0,_mm512_mul_ps(v1a,_mm512_loadu_ps(h+o))));_mm512_storeu_ps(hn+o+16,_mm512_fmadd_ps(va,r1,_mm512_mul_ps(v1a,_mm512_loadu_ps(h+o+16))));} }
  for(int t=0;t<T;t++){const float*h=x->h+(long)t*B*N,*u=x->u+(long)t*B*3;float*hn=x->h+(long)(t+1)*B*N,*r=x->r+(long)t*B*N;
    for(int n=0;n<N;n+=32){int m=0;for(;m+12<=B;m+=12)FWD(12) for(;m+4<=B;m+=4)FWD(4)}}
  // backward; z holds dL/dh_{t+1}
  memset(x->z,0,(long)B*N*4);double L=0;const float sc=2.f/((float)T*B*3);
  for(int t=T-1;t>=0;t--){const float*hn=x->h+(long)(t+1)*B*N,*r=x->r+(long)t*B*N;float*dz=x->dz,*z=x->z;
    for(int m=0;m<B;m++){const float*hh=hn+(long)m*N;float e[3];for(int o=0;o<3;o++){v a=_mm512_setzero_ps();for(int n=0;n<N;n+=16)a=_mm512_fmadd_ps(_mm512_loadu_ps(hh+n),_mm512_loadu_ps(x->Wo+o*N+n),a);
        float y=_mm512_reduce_add_ps(a)+x->bo[o]-x->tg[((long)t*B+m)*3+o];L+=y*y;e[o]=sc*y;x->g[4][o]+=e[o];}
      v e0=_mm512_set1_ps(e[0]),e1=_mm512_set1_ps(e[1]),e2=_mm512_set1_ps(e[2]);const float*uu=x->u+((long)t*B+m)*3;v u0=_mm512_set1_ps(uu[0]),u1=_mm512_set1_ps(uu[1]),u2=_mm512_set1_ps(uu[2]);
      for(int n=0;n<N;n+=16){v H=_mm512_loadu_ps(hh+n);
        #define ACC(p,q) _mm512_storeu_ps(p,_mm512_fmadd_ps(q,H,_mm512_loadu_ps(p)));
        ACC(x->g[3]+n,e0)ACC(x->g[3]+N+n,e1)ACC(x->g[3]+2*N+n,e2)
        v d=_mm512_loadu_ps(z+(long)m*N+n);d=_mm512_fmadd_ps(e0,_mm512_loadu_ps(x->Wo+n),d);d=_mm512_fmadd_ps(e1,_mm512_loadu_ps(x->Wo+N+n),d);d=_mm512_fmadd_ps(e2,_mm512_loadu_ps(x->Wo+2*N+n),d);
        v R=_mm512_loadu_ps(r+(long)m*N+n);H=_mm512_mul_ps(_mm512_mul_ps(va,d),_mm512_fnmadd_ps(R,R,one));_mm512_storeu_ps(dz+(long)m*N+n,H);_mm512_storeu_ps(z+(long)m*N+n,_mm512_mul_ps(v1a,d));
        _mm512_storeu_ps(x->g[2]+n,_mm512_add_ps(_mm512_loadu_ps(x->g[2]+n),H));ACC(x->g[1]+n,u0)ACC(x->g[1]+N+n,u1)ACC(x->g[1]+2*N+n,u2)}}
    #define BWD(mr) {v c0[mr],c1[mr];for(int i=0;i<mr;i++){c0[i]=_mm512_loadu_ps(z+(long)(m+i)*N+n);c1[i]=_mm512_loadu_ps(z+(long)(m+i)*N+n+16);} mk(mr,N,dz+(long)m*N,N,1,x->WT+n,N,c0,c1); \
      for(int i=0;i<mr;i++){_mm512_storeu_ps(z+(long)(m+i)*N+n,c0[i]);_mm512_storeu_ps(z+(long)(m+i)*N+n+16,c1[i]);}}
    if(t)for(int n=0;n<N;n+=32){int m=0;for(;m+12<=B;m+=12)BWD(12) for(;m+4<=B;m+=4)BWD(4)}
    // dW[k][n] += sum_m h_t[m][k] dz[m][n], while h_t and dz are in cache
    {const float*h=x->h+(long)t*B*N;
    #define DW(mr) {v c0[mr],c1[mr];for(int i=0;i<mr;i++){c0[i]=_mm512_loadu_ps(x->g[0]+(long)(k+i)*N+n);c1[i]=_mm512_loadu_ps(x->g[0]+(long)(k+i)*N+n+16);} mk(mr,B,h+k,1,N,dz+n,N,c0,c1); \
      for(int i=0;i<mr;i++){_mm512_storeu_ps(x->g[0]+(long)(k+i)*N+n,c0[i]);_mm512_storeu_ps(x->g[0]+(long)(k+i)*N+n+16,c1[i]);}}
    if(t)for(int n=0;n<N;n+=32){int k=0;for(;k+12<=N;k+=12)DW(12) for(;k+4<=N;k+=4)DW(4)}}
  }
  x->loss=L/((double)T*B*3);x->it++;float c1=1/(1-powf(.9f,x->it)),c2=1/(1-powf(.999f,x->it));
  for(int i=0;i<5;i++)for(int j=0;j<x->n[i];j++){float g=x->g[i][j];float m=x->m[i][j]=.9f*x->m[i][j]+.1f*g,s=x->s[i][j]=.999f*x->s[i][j]+.001f*g*g;x->p[i][j]-=1e-4f*m*c1/(sqrtf(s*c2)+1e-8f);}
}
static double gradcheck(void){Net*x=mknet(32,8,7,5);step(x);double worst=0;float*G=malloc(x->n[0]*4);memcpy(G,x->g[0],x->n[0]*4);float Gi=x->g[1][5],Go=x->g[3][7];
  for(int rep=0;rep<6;rep++){double l[2];float an=0;for(int s=0;s<2;s++){Net*y=mknet(32,8,7,5);float e=s?-2e-2f:2e-2f;if(rep<4){int id=rep*211+17;y->W[id]+=e;an=G[id];}else if(rep==4){y->Win[5]+=e;an=Gi;}else{y->Wo[7]+=e;an=Go;}step(y);l[s]=y->loss;}
    double fd=(l[0]-l[1])/4e-2;double er=fabs(fd-an)/(fabs(fd)+1e-4);if(er>worst)worst=er;}return worst;}
typedef struct{Net*x;int n;}Job;static void*work(void*p){Job*j=p;for(int i=0;i<j->n;i++)step(j->x);return 0;}
static double tanherr(void){double w=0;for(int i=-160000;i<160000;i+=16){float x[16],y[16];for(int j=0;j<16;j++)x[j]=(i+j)/16000.f;_mm512_storeu_ps(y,vtanh(_mm512_loadu_ps(x)));for(int j=0;j<16;j++){double e=fabs(y[j]-tanh((double)x[j]));if(e>w)w=e;}}return w;}
int main(int c,char**a){int N=c>1?atoi(a[1]):64,B=c>2?atoi(a[2]):64,T=c>3?atoi(a[3]):100,rep=c>4?atoi(a[4]):50,th=c>5?atoi(a[5]):1;
  double gc=gradcheck();Net*x[64];for(int i=0;i<th;i++)x[i]=mknet(N,B,T,i+1);
  for(int i=0;i<th;i++)step(x[i]);double l0=x[0]->loss;double wm=1e9,cm=1e9;
  for(int r=0;r<rep;r++){double c0=now(CLOCK_PROCESS_CPUTIME_ID),t0=now(CLOCK_MONOTONIC);
    if(th==1)step(x[0]);else{pthread_t q[64];Job j[64];for(int i=0;i<th;i++){j[i].x=x[i];j[i].n=1;pthread_create(q+i,0,work,j+i);}for(int i=0;i<th;i++)pthread_join(q[i],0);}
    double w=now(CLOCK_MONOTONIC)-t0,cc=now(CLOCK_PROCESS_CPUTIME_ID)-c0;if(w<wm)wm=w;if(cc<cm)cm=cc;}
  double fl=6.0*B*T*((double)N*N+6.0*N);double best=th==1?(cm<wm?cm:wm):wm;
  printf("{\"bench\":\"train_step\",\"lib\":\"c_fused_anchor\",\"cell\":\"leaky\",\"hidden\":%d,\"batch\":%d,\"T\":%d,\"threads\":%d,\"ens\":%d,\"min_s\":%g,\"wall_min_s\":%g,\"cpu_min_s\":%g,\"train_steps_per_s\":%.1f,\"us_per_timestep\":%.2f,\"GFLOPs\":%.1f,\"GFLOPs_per_cpu_second\":%.1f,\"gradcheck_worst_rel\":%.2g,\"tanh_max_abs_err\":%.2g,\"loss_first\":%g,\"loss_last\":%g}\n",N,B,T,th,th,best,wm,cm,th/best,best/T*1e6,th*fl/best/1e9,th*fl/cm/1e9,gc,tanherr(),l0,x[0]->loss);return 0;}
